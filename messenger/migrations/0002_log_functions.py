"""The functions of the log: one call = one transaction = one round trip.

Key C = chat_id: commit_messages (rendering *many*), append_event, delete_messages,
chat_difference, purge_chat_events. Key A = account_id: move_read_cursors, append_account_event,
append_account_events, purge_account_events. None touches both keys.

Every function locks its chat (account) first and gives a number only when the row is certain:
a number given and not written is a hole that no client can close.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# Two statements, on purpose: the second has its own snapshot and sees what the earlier holders of
# the lock committed. In one statement, parallel retries break the key or leave holes.
# `enable_seqscan = off` and the generic plan: a plan made while today's partition is empty would
# scan it for ever.
COMMIT_MESSAGES = """
create function commit_messages(
  p_now bigint, p_day int, p_chat bigint[], p_account bigint[], p_device bigint[],
  p_random bigint[], p_digest int[], p_kind smallint[], p_flags int[], p_reply int[],
  p_media bigint[], p_body text[], p_extra jsonb[])
returns table(ord int, status smallint, chat_id bigint, seq int, ev int, sent_at bigint,
  retry_ms int, banned_until bigint, chat_kind smallint, chat_flags int, member_ver int,
  badge_epoch int, epoch int)
language plpgsql volatile set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  perform 1 from (select 1 from chat c where c.chat_id = any(p_chat) order by c.chat_id
                  for update) l;
  return query
  with b as (
    select t.ord::int as ord, t.chat_id, t.account_id, t.device_id, t.random_id, t.digest, t.kind,
           t.flags, t.reply_seq, t.media_id, t.body, t.extra
    from unnest(p_chat, p_account, p_device, p_random, p_digest, p_kind, p_flags, p_reply,
                p_media, p_body, p_extra) with ordinality
      as t(chat_id, account_id, device_id, random_id, digest, kind, flags, reply_seq, media_id,
           body, extra, ord)
  ), s as materialized (
    select b.*, c.kind as ckind, c.flags as cflags, c.member_ver as mver, c.badge_epoch as bver,
      c.epoch as cepoch, c.slow_s, mb.last_post_at, mb.until, d.seq as d_seq, d.ev as d_ev,
      d.sent_at as d_at,
      (case when c.kind is null then 3
            when d.seq is not null and d.digest <> b.digest then 2
            when d.seq is not null then 1
            when row_number() over (partition by b.chat_id, b.device_id, b.random_id
                                    order by b.ord) > 1 then 9
            when c.flags & 4 <> 0 then 3
            when mb.role < 0 and (mb.until = 0 or mb.until > p_now) then 8
            when coalesce(mb.role, 0) <= 0 then 4
            when c.flags & 2 <> 0 then 7
            when mb.role < 3 and (c.kind = 3 or c.rights & 1 <> 0
                 or (mb.rights & 1 <> 0 and (mb.until = 0 or mb.until > p_now))) then 5
            when mb.role = 3 and c.kind = 3 and mb.rights & 1 = 0 then 5
            when b.reply_seq is not null and b.reply_seq not between 1 and c.last_seq then 10
            when mb.role < 3 and c.slow_s > 0 and (mb.last_post_at + c.slow_s * 1000 > p_now
                 or row_number() over (partition by b.chat_id, b.account_id
                                       order by b.ord) > 1) then 6
            else 0 end)::smallint as st
    from b
    left join lateral (select * from chat c where c.chat_id = b.chat_id limit 1) c on true
    left join lateral (select * from membership m where m.chat_id = b.chat_id
                       and m.account_id = b.account_id limit 1) mb on true
    left join lateral (select * from dedup d where d.day between p_day - 1 and p_day + 1
                       and d.chat_id = b.chat_id and d.device_id = b.device_id
                       and d.random_id = b.random_id limit 1) d on true
  ), u as (
    update chat c set last_seq = c.last_seq + g.n, last_ev = c.last_ev + g.n,
      last_at = greatest(c.last_at, p_now)
    from (select s.chat_id, count(*)::int as n from s where s.st = 0 group by s.chat_id) g
    where c.chat_id = g.chat_id
    returning c.chat_id, c.last_seq - g.n as seq0, c.last_ev - g.n as ev0, c.last_at as at
  ), w as materialized (
    select s.*, u.seq0 + s.rn as nseq, u.ev0 + s.rn as nev, u.at
    from (select s.*, (count(*) filter (where st = 0)
                       over (partition by s.chat_id order by s.ord))::int as rn from s) s
    left join u on u.chat_id = s.chat_id
  ), m as (
    insert into message(chat_id, seq, ev, sender_id, device_id, sent_at, kind, flags, reply_seq,
                        media_id, body, extra)
    select w.chat_id, nseq, nev, account_id, device_id, w.at, kind, flags, reply_seq, media_id,
           body, extra from w where st = 0
  ), x as (
    insert into dedup(day, chat_id, device_id, random_id, seq, ev, sent_at, digest)
    select p_day, w.chat_id, device_id, random_id, nseq, nev, w.at, digest from w where st = 0
  ), p as (
    update membership mb set last_post_at = p_now from w
    where w.st = 0 and w.slow_s > 0 and mb.chat_id = w.chat_id and mb.account_id = w.account_id
  )
  select w.ord, w.st, w.chat_id,
         case when w.st = 0 then w.nseq when w.st <= 2 then w.d_seq end,
         case when w.st = 0 then w.nev when w.st <= 2 then w.d_ev end,
         case when w.st = 0 then w.at when w.st <= 2 then w.d_at end,
         case when w.st <> 6 then null
              when w.last_post_at + w.slow_s * 1000 > p_now
                then (w.last_post_at + w.slow_s * 1000 - p_now)::int
              else w.slow_s * 1000 end,
         case when w.st = 8 then w.until end, w.ckind, w.cflags, w.mver, w.bver, w.cepoch
  from w order by w.ord;
end $$
"""

# The only place that numbers an event. `seq` of the answer is the chat's last_seq: the head.
APPEND_EVENT = """
create function append_event(p_now bigint, p_chat bigint, p_kind smallint, p_seq int,
  p_actor bigint, p_payload jsonb)
returns table(ev int, at bigint, seq int, chat_kind smallint, chat_flags int, member_ver int,
  epoch int)
language sql volatile set enable_seqscan = off as $$
  with u as (
    update chat set last_ev = last_ev + 1, last_at = greatest(last_at, p_now)
    where chat_id = p_chat
    returning last_ev, last_seq, last_at, kind, flags, member_ver, epoch
  ), e as (
    insert into chat_event(chat_id, ev, seq_then, kind, seq, actor_id, at, payload)
    select p_chat, last_ev, last_seq, p_kind, p_seq, p_actor, last_at, p_payload from u
  )
  select last_ev, last_at, last_seq, kind, flags, member_ver, epoch from u
$$
"""

# May this member do what needs this right? 1 post, 2 media, 4 edit others', 8 delete others',
# 16 invite, 32 pin, 64 change info, 128 restrict members, 256 add admins. Owners may all; admins
# what is granted; plain members 1, 2, 16, 32, 64 unless denied to all of them or to this one (in
# channels: nothing).
MAY = """
create function may(p_now bigint, p_right int, p_chat_kind smallint, p_chat_rights int,
  p_role smallint, p_rights int, p_until bigint) returns boolean
language sql immutable as $$
  select case when coalesce(p_role, 0) <= 0 then false
              when p_role >= 4 then true
              when p_role = 3 then p_rights & p_right <> 0
                   or (p_right = 1 and p_chat_kind <> 3)
              when p_chat_kind = 3 or p_right & 115 = 0 then false
              else p_chat_rights & p_right = 0
                   and (p_rights & p_right = 0 or (p_until > 0 and p_until <= p_now)) end
$$
"""

# Ranges of deleted seqs; a new one joins its neighbours. The caller holds the chat's lock.
ADD_GAP = """
create function add_gap(p_chat bigint, p_seq int) returns void
language plpgsql volatile set enable_seqscan = off as $$
declare
  l record;
  r record;
begin
  select low, high into l from chat_gap where chat_id = p_chat and low <= p_seq
    order by low desc limit 1;
  if l.high >= p_seq then return; end if;
  select low, high into r from chat_gap where chat_id = p_chat and low = p_seq + 1;
  if r.low is not null then
    delete from chat_gap where chat_id = p_chat and low = r.low;
  end if;
  if l.high = p_seq - 1 then
    update chat_gap set high = coalesce(r.high, p_seq) where chat_id = p_chat and low = l.low;
  else
    insert into chat_gap(chat_id, low, high) values (p_chat, p_seq, coalesce(r.high, p_seq));
  end if;
end $$
"""

# Status 0 deleted (payload.seqs: those that this call deleted), 1 all were deleted before,
# 2 one of them never existed, 3 not allowed, 4 not a member, 5 too late. All or nothing.
DELETE_MESSAGES = """
create function delete_messages(p_now bigint, p_chat bigint, p_seqs int[], p_actor bigint,
  p_window bigint)
returns table(status smallint, ev int, at bigint, seq int, chat_kind smallint, chat_flags int,
  member_ver int, epoch int, seqs int[])
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  c record;
  mb record;
  f record;
  one int;
  st smallint := 0;
begin
  select * into c from chat where chat_id = p_chat for update;
  select * into mb from membership where chat_id = p_chat and account_id = p_actor;
  select count(*) as found, bool_and(m.sender_id = p_actor) as own, min(m.sent_at) as oldest,
         array_agg(m.seq order by m.seq) filter (where m.flags & 1 = 0) as live
    into f from message m where m.chat_id = p_chat and m.seq = any(p_seqs);
  if c.chat_id is null or c.flags & 4 <> 0 or coalesce(mb.role, 0) <= 0 then st := 4;
  elsif f.found = 0 or f.found < (select count(distinct s) from unnest(p_seqs) s) then st := 2;
  elsif may(p_now, 8, c.kind, c.rights, mb.role, mb.rights, mb.until) then st := 0;
  elsif not f.own then st := 3;
  elsif p_window > 0 and f.oldest + p_window < p_now then st := 5;
  end if;
  if st = 0 and f.live is null then st := 1; end if;
  if st = 1 then
    return query select st, c.last_ev, c.last_at, c.last_seq, c.kind, c.flags, c.member_ver,
      c.epoch, '{}'::int[];
    return;
  elsif st > 1 then
    return query select st, null::int, f.oldest, null::int, c.kind, c.flags, c.member_ver,
      c.epoch, '{}'::int[];
    return;
  end if;
  update message set flags = flags | 1, body = null, extra = null, media_id = null
    where chat_id = p_chat and seq = any(f.live);
  delete from pin where chat_id = p_chat and seq = any(f.live);
  foreach one in array f.live loop
    perform add_gap(p_chat, one);
  end loop;
  return query select 0::smallint, e.*, f.live
    from append_event(p_now, p_chat, 3::smallint, null, p_actor,
                      jsonb_build_object('seqs', f.live)) e;
end $$
"""

# Between two rows of chat_event only messages happened, so seq - ev is constant there: the newest
# event at or before p_ev turns an ev into a seq, and messages need no index on ev.
# No row although head.ev > p_ev: p_ev is older than what is kept.
CHAT_DIFFERENCE = """
create function chat_difference(p_chat bigint, p_ev int, p_limit int)
returns table(ev int, is_message boolean, seq int, kind smallint, actor_id bigint, at bigint,
  body text, flags int, payload jsonb, reply_seq int, media_id bigint, edited_at bigint)
language sql stable set enable_seqscan = off as $$
  with z as (
    select coalesce(
      (select e.seq_then + (p_ev - e.ev) from chat_event e
       where e.chat_id = p_chat and e.ev <= p_ev order by e.ev desc limit 1),
      c.purged_seq + (p_ev - c.purged_ev)) as seq0
    from chat c where c.chat_id = p_chat and p_ev >= c.purged_ev)
  select * from (
    (select m.ev, true, m.seq, m.kind, m.sender_id, m.sent_at, m.body, m.flags, m.extra,
            m.reply_seq, m.media_id, m.edited_at
     from message m, z where m.chat_id = p_chat and m.seq > z.seq0 order by m.seq limit p_limit)
    union all
    (select e.ev, false, e.seq, e.kind, e.actor_id, e.at, null, 0, e.payload, null, null, null
     from chat_event e, z where e.chat_id = p_chat and e.ev > p_ev order by e.ev limit p_limit)
  ) q(ev, is_message, seq, kind, actor_id, at, body, flags, payload, reply_seq, media_id,
      edited_at)
  order by ev limit p_limit
$$
"""

# Keeps the newest p_keep events that are not older than p_before; returns the new purged_ev.
PURGE_CHAT_EVENTS = """
create function purge_chat_events(p_chat bigint, p_keep int, p_before bigint) returns int
language plpgsql volatile set enable_seqscan = off as $$
declare
  cut record;
begin
  perform 1 from chat c where c.chat_id = p_chat for update;
  select e.ev, e.seq_then into cut from (
    (select e.ev, e.seq_then from chat_event e where e.chat_id = p_chat
     order by e.ev desc offset p_keep limit 1)
    union all
    (select e.ev, e.seq_then from chat_event e where e.chat_id = p_chat and e.at < p_before
     order by e.ev desc limit 1)) e order by e.ev desc limit 1;
  if cut.ev is not null then
    delete from chat_event e where e.chat_id = p_chat and e.ev <= cut.ev;
    update chat c set purged_ev = cut.ev, purged_seq = cut.seq_then where c.chat_id = p_chat;
  end if;
  return (select c.purged_ev from chat c where c.chat_id = p_chat);
end $$
"""

MOVE_READ_CURSORS = """
create function move_read_cursors(p_now bigint, p_account bigint[], p_chat bigint[], p_seq int[])
returns table(account_id bigint, chat_id bigint, read_seq int, aev int)
language plpgsql volatile set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  perform 1 from (select 1 from account_head h where h.account_id = any(p_account)
                  order by h.account_id for update) l;
  return query
  with b as (
    select t.a as account_id, t.c as chat_id, max(t.s) as s
    from unnest(p_account, p_chat, p_seq) as t(a, c, s) group by 1, 2
  ), n as (
    select b.*, row_number() over (partition by b.account_id order by b.chat_id)::int as rn
    from b join member m on m.account_id = b.account_id and m.chat_id = b.chat_id
    where b.s > m.read_seq
  ), u as (
    update member m set read_seq = n.s from n
    where m.account_id = n.account_id and m.chat_id = n.chat_id
  ), h as (
    update account_head h set last_aev = h.last_aev + g.n
    from (select n.account_id, count(*)::int as n from n group by 1) g
    where h.account_id = g.account_id returning h.account_id, h.last_aev - g.n as aev0
  ), w as (
    select n.account_id, n.chat_id, n.s, h.aev0 + n.rn as aev
    from n join h on h.account_id = n.account_id
  ), e as (
    insert into account_event(account_id, aev, kind, chat_id, at, payload)
    select account_id, aev, 1, chat_id, p_now, jsonb_build_object('read_seq', s) from w
    on conflict (account_id, kind, chat_id) where kind < 100
    do update set aev = excluded.aev, at = excluded.at, payload = excluded.payload
  )
  select w.account_id, w.chat_id, w.s, w.aev from w;
end $$
"""

# Kinds < 100 keep one row per chat, moved to the newest aev; the others all stay. The head is
# made with the account's first event.
APPEND_ACCOUNT_EVENT = """
create function append_account_event(p_now bigint, p_account bigint, p_kind smallint,
  p_chat bigint, p_payload jsonb) returns int
language plpgsql volatile set enable_seqscan = off as $$
declare
  n int;
begin
  insert into account_head as h (account_id, last_aev) values (p_account, 1)
    on conflict (account_id) do update set last_aev = h.last_aev + 1 returning last_aev into n;
  insert into account_event as e (account_id, aev, kind, chat_id, at, payload)
    values (p_account, n, p_kind, p_chat, p_now, p_payload)
    on conflict (account_id, kind, chat_id) where kind < 100
    do update set aev = excluded.aev, at = excluded.at, payload = excluded.payload;
  return n;
end $$
"""

# The same for many accounts (rendering *many*): locks in account order, so two cannot deadlock.
APPEND_ACCOUNT_EVENTS = """
create function append_account_events(p_now bigint, p_account bigint[], p_kind smallint[],
  p_chat bigint[], p_payload jsonb[]) returns table(ord int, aev int)
language sql volatile set enable_seqscan = off as $$
  select t.ord::int, append_account_event(p_now, t.account_id, t.kind, t.chat_id, t.payload)
  from (select * from unnest(p_account, p_kind, p_chat, p_payload) with ordinality
          as t(account_id, kind, chat_id, payload, ord) order by account_id, ord) t
$$
"""

PURGE_ACCOUNT_EVENTS = """
create function purge_account_events(p_account bigint, p_keep int, p_before bigint) returns int
language plpgsql volatile set enable_seqscan = off as $$
declare
  cut int;
begin
  perform 1 from account_head h where h.account_id = p_account for update;
  select max(e.aev) into cut from (
    (select e.aev from account_event e where e.account_id = p_account
     order by e.aev desc offset p_keep limit 1)
    union all
    (select e.aev from account_event e where e.account_id = p_account and e.at < p_before
     order by e.aev desc limit 1)) e;
  if cut is not null then
    delete from account_event e where e.account_id = p_account and e.aev <= cut;
    update account_head h set purged_aev = cut where h.account_id = p_account;
  end if;
  return (select h.purged_aev from account_head h where h.account_id = p_account);
end $$
"""

FUNCTIONS: tuple[str, ...] = (
    COMMIT_MESSAGES,
    APPEND_EVENT,
    MAY,
    ADD_GAP,
    DELETE_MESSAGES,
    CHAT_DIFFERENCE,
    PURGE_CHAT_EVENTS,
    MOVE_READ_CURSORS,
    APPEND_ACCOUNT_EVENT,
    APPEND_ACCOUNT_EVENTS,
    PURGE_ACCOUNT_EVENTS,
)


def upgrade() -> None:
    for statement in FUNCTIONS:
        op.get_bind().exec_driver_sql(statement)
