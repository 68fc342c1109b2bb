"""The rendering *one*: functions that take a single key value and are made of simple statements.

Citus answers a statement from one shard where it names one key value as a constant, and plans
neither an insert inside a CTE nor `insert .. select .. from unnest` that way. So each function here
is the twin of one that takes arrays of keys (0002, 0004), with the same answers in the same order.
None of them is needed on one PostgreSQL; all are there, so that every test runs against both.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

# The twin of commit_messages. Look-ups come in two statements, kept as parallel arrays: positions
# in arrays cost nothing next to a round trip to a shard. v_nth_key counts copies of a key in the
# batch, v_nth the sends of an account (slow mode).
COMMIT_ONE = """
create function commit_one(
  p_now bigint, p_day int, p_chat bigint, p_account bigint[], p_device bigint[],
  p_random bigint[], p_digest int[], p_kind smallint[], p_flags int[], p_reply int[],
  p_media bigint[], p_body text[], p_extra jsonb[])
returns table(ord int, status smallint, chat_id bigint, seq int, ev int, sent_at bigint,
  retry_ms int, banned_until bigint, chat_kind smallint, chat_flags int, member_ver int,
  badge_epoch int, epoch int)
language plpgsql volatile set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  c record;
  mb record;
  dd record;
  v_members bigint[];
  v_nth_key int[];
  v_nth int[];
  v_posted bigint[] := '{}';
  v_at bigint;
  v_wait bigint;
  st smallint;
  n int := 0;
  i int;
  m int;
  d int;
begin
  select c.chat_id, c.kind, c.flags, c.rights, c.slow_s, c.last_seq, c.last_ev, c.last_at,
         c.member_ver, c.badge_epoch, c.epoch
    into c from chat c where c.chat_id = p_chat for update;
  select array_agg(m.account_id) as accounts, array_agg(m.role) as roles,
         array_agg(m.rights) as rights, array_agg(m.until) as until,
         array_agg(m.last_post_at) as posted
    into mb from membership m where m.chat_id = p_chat and m.account_id = any(p_account);
  select array_agg(d.device_id || ':' || d.random_id) as keys, array_agg(d.digest) as digests,
         array_agg(d.seq) as seqs, array_agg(d.ev) as evs, array_agg(d.sent_at) as ats
    into dd from dedup d where d.chat_id = p_chat and d.device_id = any(p_device)
    and d.random_id = any(p_random) and d.day between p_day - 1 and p_day + 1;
  select array_agg(t.nk order by t.ord), array_agg(t.na order by t.ord) into v_nth_key, v_nth
    from (select u.ord, row_number() over (partition by u.d, u.r order by u.ord) as nk,
                 row_number() over (partition by u.a order by u.ord) as na
          from unnest(p_account, p_device, p_random) with ordinality as u(a, d, r, ord)) t;
  v_at := greatest(c.last_at, p_now);
  for i in 1 .. cardinality(p_account) loop
    m := array_position(mb.accounts, p_account[i]);
    d := array_position(dd.keys, p_device[i] || ':' || p_random[i]);
    v_wait := mb.posted[m] + c.slow_s * 1000 - p_now;
    st := case
      when c.chat_id is null then 3
      when d is not null and dd.digests[d] <> p_digest[i] then 2
      when d is not null then 1
      when v_nth_key[i] > 1 then 9
      when c.flags & 4 <> 0 then 3
      when mb.roles[m] < 0 and (mb.until[m] = 0 or mb.until[m] > p_now) then 8
      when coalesce(mb.roles[m], 0) <= 0 then 4
      when c.flags & 2 <> 0 then 7
      when mb.roles[m] < 3 and (c.kind = 3 or c.rights & 1 <> 0
           or (mb.rights[m] & 1 <> 0 and (mb.until[m] = 0 or mb.until[m] > p_now))) then 5
      when mb.roles[m] = 3 and c.kind = 3 and mb.rights[m] & 1 = 0 then 5
      when p_reply[i] is not null and p_reply[i] not between 1 and c.last_seq then 10
      when mb.roles[m] < 3 and c.slow_s > 0 and (v_wait > 0 or v_nth[i] > 1) then 6
      else 0 end;
    if st = 0 then
      n := n + 1;
      v_posted := v_posted || p_account[i];
      insert into message(chat_id, seq, ev, sender_id, device_id, sent_at, kind, flags, reply_seq,
                          media_id, body, extra)
        values (p_chat, c.last_seq + n, c.last_ev + n, p_account[i], p_device[i], v_at, p_kind[i],
                p_flags[i], p_reply[i], p_media[i], p_body[i], p_extra[i]);
      insert into dedup(day, chat_id, device_id, random_id, seq, ev, sent_at, digest)
        values (p_day, p_chat, p_device[i], p_random[i], c.last_seq + n, c.last_ev + n, v_at,
                p_digest[i]);
    end if;
    return query select i, st, p_chat,
      case when st = 0 then c.last_seq + n when st <= 2 then dd.seqs[d] end,
      case when st = 0 then c.last_ev + n when st <= 2 then dd.evs[d] end,
      case when st = 0 then v_at when st <= 2 then dd.ats[d] end,
      case when st <> 6 then null when v_wait > 0 then v_wait::int else c.slow_s * 1000 end,
      case when st = 8 then mb.until[m] end, c.kind, c.flags, c.member_ver, c.badge_epoch,
      c.epoch;
  end loop;
  if n > 0 then
    update chat set last_seq = c.last_seq + n, last_ev = c.last_ev + n, last_at = v_at
      where chat_id = p_chat;
    if c.slow_s > 0 then
      update membership set last_post_at = p_now
        where chat_id = p_chat and account_id = any(v_posted);
    end if;
  end if;
end $$
"""

# What a difference from p_ev starts at and may reach. The two ranges are statements of their own
# and on shards see different moments: what came after the head was read is left for the next call,
# else it could follow a hole. No row: p_ev is older than what is kept.
DIFFERENCE_START = """
create function difference_start(p_chat bigint, p_ev int)
returns table(seq0 int, last_seq int, last_ev int)
language plpgsql stable set enable_seqscan = off as $$
#variable_conflict use_column
declare
  c record;
  v_seq0 int;
begin
  select h.last_seq, h.last_ev, h.purged_seq, h.purged_ev into c from chat h
    where h.chat_id = p_chat;
  if c.last_ev is null or p_ev < c.purged_ev then return; end if;
  select e.seq_then + (p_ev - e.ev) into v_seq0 from chat_event e
    where e.chat_id = p_chat and e.ev <= p_ev order by e.ev desc limit 1;
  return query select coalesce(v_seq0, c.purged_seq + (p_ev - c.purged_ev)), c.last_seq, c.last_ev;
end $$
"""

# The twin of chat_difference; the caller sorts by ev.
CHAT_DIFFERENCE_ONE = """
create function chat_difference_one(p_chat bigint, p_ev int, p_limit int)
returns table(ev int, is_message boolean, seq int, kind smallint, actor_id bigint, at bigint,
  body text, flags int, payload jsonb, reply_seq int, media_id bigint, edited_at bigint)
language plpgsql stable set enable_seqscan = off as $$
#variable_conflict use_column
declare
  s record;
begin
  select * into s from difference_start(p_chat, p_ev);
  if not found then return; end if;
  return query
    select m.ev, true, m.seq, m.kind, m.sender_id, m.sent_at, m.body, m.flags, m.extra,
           m.reply_seq, m.media_id, m.edited_at
    from message m where m.chat_id = p_chat and m.seq > s.seq0 and m.seq <= s.last_seq
    order by m.seq limit p_limit;
  return query
    select e.ev, false, e.seq, e.kind, e.actor_id, e.at, null::text, 0, e.payload, null::int,
           null::bigint, null::bigint
    from chat_event e where e.chat_id = p_chat and e.ev > p_ev and e.ev <= s.last_ev
    order by e.ev limit p_limit;
end $$
"""

# The twin of chats_difference for one chat; arrays of one, as the caller's parameters are parallel.
# Only edits look up a message; the counts of the messages come in one statement.
CHATS_DIFFERENCE_ONE = """
create function chats_difference_one(p_chat bigint, p_ev int[], p_limit int[])
returns table(chat_id bigint, ev int, is_message boolean, seq int, kind smallint,
  actor_id bigint, payload jsonb, m_ev int, m_sender bigint, m_at bigint, m_kind smallint,
  m_flags int, m_edited bigint, m_reply int, m_body text, m_extra jsonb, m_stat jsonb)
language plpgsql stable set enable_seqscan = off as $$
#variable_conflict use_column
declare
  s record;
  r record;
  m record;
  v_stats jsonb;
  v_stat jsonb;
begin
  select * into s from difference_start(p_chat, p_ev[1]);
  if not found then return; end if;
  select jsonb_object_agg(p.seq, p.reactions) into v_stats from post_stat p
    where p.chat_id = p_chat and p.seq > s.seq0 and p.seq <= s.seq0 + p_limit[1]
    and p.reactions is not null;
  for r in select * from chat_difference_one(p_chat, p_ev[1], p_limit[1]) d
    order by d.ev limit p_limit[1]
  loop
    if r.is_message then
      return query select p_chat, r.ev, true, r.seq, r.kind, r.actor_id, null::jsonb, r.ev,
        r.actor_id, r.at, r.kind, r.flags, r.edited_at, r.reply_seq, r.body, r.payload,
        v_stats -> r.seq::text;
      continue;
    end if;
    m := null;
    v_stat := null;
    if r.kind = 2 then
      select g.ev, g.sender_id, g.sent_at, g.kind, g.flags, g.edited_at, g.reply_seq, g.body,
             g.extra into m from message g where g.chat_id = p_chat and g.seq = r.seq;
      select p.reactions into v_stat from post_stat p
        where p.chat_id = p_chat and p.seq = r.seq;
      return query select p_chat, r.ev, false, r.seq, r.kind, r.actor_id, r.payload, m.ev,
        m.sender_id, m.sent_at, m.kind, m.flags, m.edited_at, m.reply_seq, m.body, m.extra,
        v_stat;
    else
      return query select p_chat, r.ev, false, r.seq, r.kind, r.actor_id, r.payload, null::int,
        null::bigint, null::bigint, null::smallint, null::int, null::bigint, null::int,
        null::text, null::jsonb, null::jsonb;
    end if;
  end loop;
end $$
"""

# The twin of move_own_cursors (and, without the rows of chats and of the account, of
# move_read_cursors).
MOVE_OWN_CURSORS_ONE = """
create function move_own_cursors_one(p_now bigint, p_account bigint, p_chat bigint[], p_seq int[])
returns table(account_id bigint, chat_id bigint, read_seq int, aev int)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  k record;
  v_chat bigint;
  v_want int;
  i int;
begin
  perform 1 from account_head h where h.account_id = p_account for update;
  select array_agg(m.chat_id order by m.chat_id) as chats,
         array_agg(m.read_seq order by m.chat_id) as seqs
    into k from member m
    where m.account_id = p_account and m.chat_id = any(p_chat) and m.flags & 4 = 0;
  for i in 1 .. coalesce(cardinality(k.chats), 0) loop
    v_chat := k.chats[i];
    return query select p_account, v_chat, 0, 0;
    v_want := (select max(t.s) from unnest(p_chat, p_seq) as t(c, s) where t.c = v_chat);
    if v_want > k.seqs[i] then
      update member set read_seq = v_want where account_id = p_account and chat_id = v_chat;
      return query select p_account, v_chat, v_want, append_account_event(p_now, p_account,
        1::smallint, v_chat, jsonb_build_object('read_seq', v_want));
    end if;
  end loop;
  return query select h.account_id, 0::bigint, 0, h.last_aev from account_head h
    where h.account_id = p_account;
end $$
"""

# The twin of move_receipts for one chat.
MOVE_RECEIPTS_ONE = """
create function move_receipts_one(p_chat bigint, p_account bigint[], p_read int[],
  p_delivered int[])
returns table(chat_id bigint, account_id bigint, read_seq int, delivered_seq int, tell bigint[])
language plpgsql volatile set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  c record;
  k record;
  w record;
  v_tell bigint[];
  i int;
begin
  select h.flags, h.last_seq into c from chat h where h.chat_id = p_chat;
  if c.flags is null or c.flags & 4 <> 0 then return; end if;
  perform 1 from membership m where m.chat_id = p_chat and m.account_id = any(p_account)
    order by m.account_id for update;
  select array_agg(m.account_id) as accounts, array_agg(m.read_seq) as r,
         array_agg(m.delivered_seq) as d
    into k from membership m
    where m.chat_id = p_chat and m.account_id = any(p_account) and m.role > 0;
  for i in 1 .. coalesce(cardinality(k.accounts), 0) loop
    select greatest(k.r[i], least(max(t.r), c.last_seq)) as r,
           greatest(k.d[i], least(max(greatest(t.d, t.r)), c.last_seq)) as d
      into w from unnest(p_account, p_read, p_delivered) as t(a, r, d) where t.a = k.accounts[i];
    v_tell := '{}';
    if c.flags & 1 = 0 and (w.r > k.r[i] or w.d > k.d[i]) then
      update membership set read_seq = w.r, delivered_seq = w.d
        where chat_id = p_chat and account_id = k.accounts[i];
      select coalesce(array_agg(distinct g.sender_id), '{}') into v_tell from message g
        join membership s on s.chat_id = p_chat and s.account_id = g.sender_id and s.role > 0
        where g.chat_id = p_chat and g.sender_id <> k.accounts[i] and g.seq > w.d - 200
          and g.seq > case when w.r > k.r[i] then k.r[i] else k.d[i] end
          and g.seq <= case when w.d > k.d[i] then w.d else w.r end;
    end if;
    return query select p_chat, k.accounts[i], w.r, w.d, v_tell;
  end loop;
end $$
"""

# The twin of the indexer's statement: a message's tokens are p_tokens[p_from : p_to].
INDEX_MESSAGES_ONE = """
create function index_messages_one(p_chat bigint, p_seq int[], p_from int[], p_tokens int[],
  p_to int[]) returns void
language plpgsql volatile set enable_seqscan = off as $$
begin
  for i in 1 .. cardinality(p_seq) loop
    insert into message_index(chat_id, seq, tokens)
      values (p_chat, p_seq[i], p_tokens[p_from[i] : p_to[i]])
      on conflict (chat_id, seq) do update set tokens = excluded.tokens;
  end loop;
end $$
"""

FUNCTIONS: tuple[str, ...] = (COMMIT_ONE, DIFFERENCE_START, CHAT_DIFFERENCE_ONE)
FUNCTIONS += (CHATS_DIFFERENCE_ONE, MOVE_OWN_CURSORS_ONE, MOVE_RECEIPTS_ONE, INDEX_MESSAGES_ONE)


def upgrade() -> None:
    """Make the functions."""
    for statement in FUNCTIONS:
        op.get_bind().exec_driver_sql(statement)
