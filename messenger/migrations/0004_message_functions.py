"""The functions of editing, reactions, hiding, cursors and the difference of many chats.

Key C = chat_id: standing, edit_text, react, flush_reactions, move_receipts, chats_difference.
Key A = account_id: hide_messages, move_own_cursors.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

# Who asks, and of what chat. Status 0 a member, 3 no such chat, 4 not a member, 8 banned (until).
STANDING = """
create function standing(p_now bigint, p_chat bigint, p_account bigint)
returns table(status smallint, until bigint, role smallint, kind smallint, flags int,
  last_seq int, last_ev int, epoch int, joined_seq int, may_post boolean, member_ver int)
language sql stable set enable_seqscan = off as $$
  select (case when c.flags & 4 <> 0 then 3
               when m.role < 0 and (m.until = 0 or m.until > p_now) then 8
               when coalesce(m.role, 0) <= 0 then 4 else 0 end)::smallint,
         coalesce(m.until, 0), coalesce(m.role, 0::smallint), c.kind, c.flags, c.last_seq,
         c.last_ev, c.epoch, coalesce(m.joined_seq, 0),
         may(p_now, 1, c.kind, c.rights, m.role, coalesce(m.rights, 0), coalesce(m.until, 0)),
         c.member_ver
  from chat c left join membership m on m.chat_id = p_chat and m.account_id = p_account
  where c.chat_id = p_chat
$$
"""

# The columns of an answer that makes an event; `detail` is what the status needs: the end of a
# ban, of the edit window, or a wait in ms.
EVENT = """status smallint, detail bigint, ev int, at bigint, seq int, chat_kind smallint,
  chat_flags int, member_ver int, epoch int"""

# Status 0 edited, 1 the same text again (ev: the current one), 2 no such message, 3 no such chat,
# 4 not a member, 5 may not post, 6 another's or not a plain text, 7 embargo, 8 banned, 9 too late.
EDIT_TEXT = f"""
create function edit_text(p_now bigint, p_chat bigint, p_seq int, p_actor bigint,
  p_window bigint, p_body text, p_extra jsonb)
returns table({EVENT}, m_ev int, m_sender bigint, m_at bigint, m_flags int, m_edited bigint,
  m_reply int, m_extra jsonb, m_stat jsonb)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  s record;
  m record;
  c record;
  st smallint;
  any_post boolean;
  stat jsonb;
begin
  select * into c from chat where chat_id = p_chat for update;
  select * into s from standing(p_now, p_chat, p_actor);
  select * into m from message where chat_id = p_chat and seq = p_seq;
  select p.reactions into stat from post_stat p where p.chat_id = p_chat and p.seq = p_seq;
  any_post := c.kind = 3 and s.role >= 3 and exists (
    select 1 from membership b where b.chat_id = p_chat and b.account_id = p_actor
    and may(p_now, 4, c.kind, c.rights, b.role, b.rights, b.until));
  st := case
    when c.chat_id is null then 3
    when s.status <> 0 then s.status
    when m.seq is null or m.flags & 1 <> 0 then 2
    when c.flags & 2 <> 0 then 7
    when m.kind <> 1 or m.flags & 8 <> 0 then 6
    when any_post then 0
    when m.sender_id <> p_actor then 6
    when not s.may_post then 5
    when m.sent_at + p_window < p_now then 9
    else 0 end;
  if st = 0 and (m.body, m.extra) is not distinct from (p_body, p_extra) then
    return query select 1::smallint, 0::bigint, c.last_ev, coalesce(m.edited_at, m.sent_at),
      c.last_seq, c.kind, c.flags, c.member_ver, c.epoch, m.ev, m.sender_id, m.sent_at, m.flags,
      m.edited_at, m.reply_seq, m.extra, stat;
    return;
  elsif st <> 0 then
    return query select st, case when st = 9 then m.sent_at + p_window else s.until end,
      null::int, null::bigint, null::int, c.kind, c.flags, c.member_ver, c.epoch, null::int,
      null::bigint, null::bigint, null::int, null::bigint, null::int, null::jsonb, null::jsonb;
    return;
  end if;
  update message set body = p_body, extra = p_extra, edited_at = greatest(c.last_at, p_now),
    flags = flags | 4 where chat_id = p_chat and seq = p_seq;
  return query
    select 0::smallint, 0::bigint, e.ev, e.at, e.seq, e.chat_kind, e.chat_flags, e.member_ver,
      e.epoch, m.ev, m.sender_id, m.sent_at, m.flags | 4, e.at, m.reply_seq, p_extra, stat
    from append_event(p_now, p_chat, 2::smallint, p_seq, p_actor, null) e;
end $$
"""

# post_stat.reactions = {"n": counts, "at": time of the last event, "late": counts are newer}.
# At most one event per message and second, whatever the process: a change within the second only
# marks the counts late; flush_reactions makes the event when the second is over.
# Status 0 counted and told, 10 counted, tell after `detail` ms, 1 nothing changed, 2 no such
# message, 3 no such chat, 4 not a member, 5 may not post, 7 embargo, 8 banned, 11 too many kinds.
REACT = f"""
create function react(p_now bigint, p_chat bigint, p_seq int, p_actor bigint, p_emoji text,
  p_kinds int, p_every bigint)
returns table({EVENT}, counts jsonb)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  s record;
  c record;
  m record;
  st smallint;
  was text;
  stat jsonb;
  n jsonb;
  last bigint;
begin
  select * into c from chat where chat_id = p_chat for update;
  select * into s from standing(p_now, p_chat, p_actor);
  select * into m from message where chat_id = p_chat and seq = p_seq;
  select r.emoji into was from reaction r
    where r.chat_id = p_chat and r.seq = p_seq and r.account_id = p_actor;
  select p.reactions into stat from post_stat p where p.chat_id = p_chat and p.seq = p_seq;
  n := coalesce(stat -> 'n', '{{}}');
  last := coalesce((stat ->> 'at')::bigint, 0);
  if was is not null then
    n := case when (n ->> was)::int > 1
         then n || jsonb_build_object(was, (n ->> was)::int - 1) else n - was end;
  end if;
  st := case
    when c.chat_id is null then 3
    when s.status <> 0 then s.status
    when m.seq is null or m.flags & 1 <> 0 then 2
    when c.flags & 32 <> 0 and p_seq <= s.joined_seq then 2
    when c.flags & 2 <> 0 then 7
    when c.kind <> 3 and not s.may_post then 5
    when was is not distinct from p_emoji then 1
    when p_emoji is not null and not n ? p_emoji
      and (select count(*) from jsonb_object_keys(n)) >= p_kinds then 11
    when last + p_every > p_now then 10
    else 0 end;
  if st not in (0, 10) then
    return query select st, s.until, c.last_ev, c.last_at, c.last_seq, c.kind, c.flags,
      c.member_ver, c.epoch, null::jsonb;
    return;
  end if;
  if p_emoji is null then
    delete from reaction r where r.chat_id = p_chat and r.seq = p_seq and r.account_id = p_actor;
  else
    insert into reaction as r (chat_id, seq, account_id, emoji, at)
      values (p_chat, p_seq, p_actor, p_emoji, p_now)
      on conflict (chat_id, seq, account_id) do update set emoji = excluded.emoji, at = p_now;
    n := n || jsonb_build_object(p_emoji, coalesce((n ->> p_emoji)::int, 0) + 1);
  end if;
  stat := case st when 0 then jsonb_build_object('n', n, 'at', p_now)
          else jsonb_build_object('n', n, 'at', last, 'late', true) end;
  insert into post_stat as p (chat_id, seq, reactions) values (p_chat, p_seq, stat)
    on conflict (chat_id, seq) do update set reactions = excluded.reactions;
  if st = 10 then
    return query select st, last + p_every - p_now, null::int, null::bigint, null::int, c.kind,
      c.flags, c.member_ver, c.epoch, n;
    return;
  end if;
  return query
    select 0::smallint, 0::bigint, e.ev, e.at, e.seq, e.chat_kind, e.chat_flags, e.member_ver,
      e.epoch, n
    from append_event(p_now, p_chat, 5::smallint, p_seq, null,
                      jsonb_build_object('counts', n)) e;
end $$
"""

# Status 0 told, 1 nothing to tell, 10 not yet: wait `detail` ms.
FLUSH_REACTIONS = f"""
create function flush_reactions(p_now bigint, p_chat bigint, p_seq int, p_every bigint)
returns table({EVENT}, counts jsonb)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  stat jsonb;
  wait bigint;
begin
  perform 1 from chat c where c.chat_id = p_chat for update;
  select p.reactions into stat from post_stat p join message m using (chat_id, seq)
    where p.chat_id = p_chat and p.seq = p_seq and m.flags & 1 = 0;
  wait := coalesce((stat ->> 'at')::bigint, 0) + p_every - p_now;
  if not coalesce(stat ? 'late', false) or wait > 0 then
    return query select (case when stat ? 'late' then 10 else 1 end)::smallint, wait, null::int,
      null::bigint, null::int, null::smallint, null::int, null::int, null::int, null::jsonb;
    return;
  end if;
  update post_stat set reactions = jsonb_build_object('n', stat -> 'n', 'at', p_now)
    where chat_id = p_chat and seq = p_seq;
  return query
    select 0::smallint, 0::bigint, e.ev, e.at, e.seq, e.chat_kind, e.chat_flags, e.member_ver,
      e.epoch, stat -> 'n'
    from append_event(p_now, p_chat, 5::smallint, p_seq, null,
                      jsonb_build_object('counts', stat -> 'n')) e;
end $$
"""

# "Delete for me". Answers the seqs hidden by this call (none: all were hidden before, aev is the
# current one); no row: the account has no such chat.
HIDE_MESSAGES = """
create function hide_messages(p_now bigint, p_account bigint, p_chat bigint, p_kind smallint,
  p_seqs int[])
returns table(aev int, seqs int[])
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  fresh int[];
begin
  perform 1 from account_head h where h.account_id = p_account for update;
  if not exists (select 1 from member m where m.account_id = p_account and m.chat_id = p_chat
                 and m.flags & 4 = 0) then return; end if;
  with i as (
    insert into hidden(account_id, chat_id, seq) select distinct p_account, p_chat, s
    from unnest(p_seqs) s on conflict do nothing returning seq)
  select array_agg(i.seq order by i.seq) into fresh from i;
  if fresh is null then
    return query select coalesce(max(h.last_aev), 0), '{}'::int[] from account_head h
      where h.account_id = p_account;
    return;
  end if;
  return query select append_account_event(p_now, p_account, p_kind, p_chat,
    jsonb_build_object('seqs', fresh)), fresh;
end $$
"""

# The own cursors of many accounts. Rows: (account, chat, 0, 0) for each that the account is in,
# then what moved, then (account, 0, 0, its current aev), the answer where nothing moved.
MOVE_OWN_CURSORS = """
create function move_own_cursors(p_now bigint, p_account bigint[], p_chat bigint[], p_seq int[])
returns table(account_id bigint, chat_id bigint, read_seq int, aev int)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  k record;
begin
  select array_agg(t.a) as a, array_agg(t.c) as c, array_agg(t.s) as s into k
    from unnest(p_account, p_chat, p_seq) as t(a, c, s)
    join member m on m.account_id = t.a and m.chat_id = t.c
    where m.flags & 4 = 0;
  return query select t.a, t.c, 0, 0 from unnest(k.a, k.c) as t(a, c);
  return query select * from move_read_cursors(p_now, k.a, k.c, k.s);
  return query select h.account_id, 0::bigint, 0, h.last_aev from account_head h
    where h.account_id = any(p_account);
end $$
"""

# The copies for ticks and `readers`, small chats only. One row per member asked for, moved or
# not; no row: not a member. `tell`: the members whose messages got a tick by this move, and nobody
# else: a group of 200 that reads a message would otherwise tell 200 members 200 times.
MOVE_RECEIPTS = """
create function move_receipts(p_chat bigint[], p_account bigint[], p_read int[],
  p_delivered int[])
returns table(chat_id bigint, account_id bigint, read_seq int, delivered_seq int, tell bigint[])
language plpgsql volatile set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  perform 1 from (
    select 1 from membership s join unnest(p_chat, p_account) as k(c, a)
      on k.c = s.chat_id and k.a = s.account_id
    order by s.chat_id, s.account_id for update of s) l;
  return query
  with b as (
    select t.c as chat_id, t.a as account_id, max(t.r) as r, max(greatest(t.d, t.r)) as d
    from unnest(p_chat, p_account, p_read, p_delivered) as t(c, a, r, d) group by 1, 2
  ), n as (
    select b.chat_id, b.account_id, c.flags & 1 <> 0 as big, m.read_seq as r0,
      m.delivered_seq as d0, greatest(m.read_seq, least(b.r, c.last_seq)) as r,
      greatest(m.delivered_seq, least(b.d, c.last_seq)) as d
    from b join membership m on m.chat_id = b.chat_id and m.account_id = b.account_id
           join chat c on c.chat_id = b.chat_id
    where m.role > 0 and c.flags & 4 = 0
  ), u as (
    update membership m set read_seq = n.r, delivered_seq = n.d from n
    where (n.r > n.r0 or n.d > n.d0) and not n.big
      and m.chat_id = n.chat_id and m.account_id = n.account_id
  )
  select n.chat_id, n.account_id, n.r, n.d,
    case when (n.r > n.r0 or n.d > n.d0) and not n.big then array(
      select distinct g.sender_id from message g
      join membership w on w.chat_id = n.chat_id and w.account_id = g.sender_id and w.role > 0
      where g.chat_id = n.chat_id and g.sender_id <> n.account_id and g.seq > n.d - 200
        and g.seq > case when n.r > n.r0 then n.r0 else n.d0 end
        and g.seq <= case when n.d > n.d0 then n.d else n.r end)
    else '{}' end
  from n;
end $$
"""

# chat_difference of many chats in one round trip, with the present content of messages that are
# new or edited.
CHATS_DIFFERENCE = """
create function chats_difference(p_chat bigint[], p_ev int[], p_limit int[])
returns table(chat_id bigint, ev int, is_message boolean, seq int, kind smallint,
  actor_id bigint, payload jsonb, m_ev int, m_sender bigint, m_at bigint, m_kind smallint,
  m_flags int, m_edited bigint, m_reply int, m_body text, m_extra jsonb, m_stat jsonb)
language sql stable set enable_seqscan = off as $$
  select t.chat_id, d.ev, d.is_message, d.seq, d.kind, d.actor_id,
         case when d.is_message then null else d.payload end, m.ev, m.sender_id, m.sent_at,
         m.kind, m.flags, m.edited_at, m.reply_seq, m.body, m.extra, p.reactions
  from unnest(p_chat, p_ev, p_limit) with ordinality as t(chat_id, ev, n, ord)
  cross join lateral chat_difference(t.chat_id, t.ev, t.n) d
  left join lateral (
    select * from message m where m.chat_id = t.chat_id and m.seq = d.seq
    and (d.is_message or d.kind = 2) limit 1) m on true
  left join lateral (
    select * from post_stat p where p.chat_id = t.chat_id and p.seq = m.seq limit 1) p on true
  order by t.ord, d.ev
$$
"""

FUNCTIONS: tuple[str, ...] = (STANDING, EDIT_TEXT, REACT, FLUSH_REACTIONS, HIDE_MESSAGES)
FUNCTIONS += (MOVE_OWN_CURSORS, MOVE_RECEIPTS, CHATS_DIFFERENCE)


def upgrade() -> None:
    """Make the functions."""
    for statement in FUNCTIONS:
        op.get_bind().exec_driver_sql(statement)
