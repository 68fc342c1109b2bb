"""The append statement at speed: what nearly every send is, written without a join or a sort.

`commit_messages` stays: it decides everything that is not plain, and nodes of the release before
call it while they are replaced.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

# A chat is plain where each of its sends is: its sender may post, the key is new, the reply's
# target exists; no slow mode, no embargo. Plain chats are numbered from their locked rows by the
# places that the caller counted (p_slot: which of p_ids, sorted; p_nth: which of that chat);
# all others go to `commit_messages`, in the same transaction and under the same locks.
#
# The first statement locks and reads the newest version of each chat; every later one has a
# snapshot from after the locks, so it sees what the earlier holders committed. `c.ctid` of a
# locked row cannot move. Arrays that would hold one value alone are null: p_kind (1), p_flags (0),
# p_reply, p_media, p_extra. No two sends of a call may have one key.
#
# No joins but nested loops: a plan made while the tables are small is kept when they have grown.
COMMIT_MESSAGES_V2 = """
create function commit_messages_v2(
  p_now bigint, p_day int, p_ids bigint[], p_counts int[], p_slot int[], p_nth int[],
  p_account bigint[], p_device bigint[], p_random bigint[], p_digest int[], p_kind smallint[],
  p_flags int[], p_reply int[], p_media bigint[], p_body text[], p_extra jsonb[],
  out seqs int[], out evs int[], out ats bigint[], out chat_kinds smallint[],
  out chat_flags int[], out member_vers int[], out badge_epochs int[], out epochs int[],
  out others jsonb)
language plpgsql volatile set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_variable
declare
  v_tids tid[];
  v_rights int[];
  v_odd boolean[];
  v_not int[];
  v_newest int := p_day;
begin
  select array_agg(l.ctid), array_agg(l.last_seq), array_agg(l.last_ev),
         array_agg(greatest(l.last_at, p_now)), array_agg(l.kind), array_agg(l.flags),
         array_agg(l.member_ver), array_agg(l.badge_epoch), array_agg(l.epoch),
         array_agg(l.rights), array_agg(l.slow_s > 0 or l.flags & 6 <> 0)
    into v_tids, seqs, evs, ats, chat_kinds, chat_flags, member_vers, badge_epochs, epochs,
         v_rights, v_odd
    from (select c.ctid, c.last_seq, c.last_ev, c.last_at, c.kind, c.flags, c.member_ver,
                 c.badge_epoch, c.epoch, c.rights, c.slow_s
          from chat c where c.chat_id = any(p_ids) order by c.chat_id for update) l;
  if cardinality(v_tids) is distinct from cardinality(p_ids) then
    v_not := array(select generate_subscripts(p_ids, 1));  -- a chat is missing: no slot is sure
  else
    if exists (select 1 from dedup d where d.day = p_day + 1) then
      v_newest := p_day + 1;  -- another node's clock is past midnight
    end if;
    select array_agg(distinct b.slot) into v_not
    from (select unnest(p_slot) as slot, unnest(p_account) as account_id,
                 unnest(p_device) as device_id, unnest(p_random) as random_id,
                 unnest(p_reply) as reply_seq) b
    left join lateral (select m.role, m.rights from membership m
                       where m.chat_id = p_ids[b.slot] and m.account_id = b.account_id
                       limit 1) mb on true
    left join lateral (select d.seq from dedup d where d.day between p_day - 1 and v_newest
                       and d.chat_id = p_ids[b.slot] and d.device_id = b.device_id
                       and d.random_id = b.random_id limit 1) d on true
    where d.seq is not null or v_odd[b.slot]
      or b.reply_seq not between 1 and seqs[b.slot]
      or (case coalesce(mb.role, 0)
            when 1 then chat_kinds[b.slot] = 3 or (v_rights[b.slot] | mb.rights) & 1 <> 0
            when 3 then chat_kinds[b.slot] = 3 and mb.rights & 1 = 0
            when 4 then false
            else true end);
  end if;
  if v_not is not null then
    others := (
      select jsonb_agg(jsonb_build_array(o.ords[r.ord], r.status, r.seq, r.ev, r.sent_at,
               r.retry_ms, r.banned_until, r.chat_kind, r.chat_flags, r.member_ver,
               r.badge_epoch, r.epoch))
      from (select array_agg(b.ord) as ords, array_agg(p_ids[b.slot]) as chats,
                   array_agg(p_account[b.ord]) as accounts, array_agg(p_device[b.ord]) as devices,
                   array_agg(p_random[b.ord]) as randoms, array_agg(p_digest[b.ord]) as digests,
                   array_agg(coalesce(p_kind[b.ord], 1::smallint)) as kinds,
                   array_agg(coalesce(p_flags[b.ord], 0)) as flags,
                   array_agg(p_reply[b.ord]) as replies, array_agg(p_media[b.ord]) as media,
                   array_agg(p_body[b.ord]) as bodies, array_agg(p_extra[b.ord]) as extras
            from (select unnest(p_slot) as slot, generate_subscripts(p_slot, 1) as ord) b
            where b.slot = any(v_not)) o,
      lateral commit_messages(p_now, p_day, o.chats, o.accounts, o.devices, o.randoms, o.digests,
                              o.kinds, o.flags, o.replies, o.media, o.bodies, o.extras) r);
    if cardinality(v_not) = cardinality(p_ids) then
      return;
    end if;
  end if;
  insert into message(chat_id, seq, ev, sender_id, device_id, sent_at, kind, flags, reply_seq,
                      media_id, body, extra)
    select p_ids[b.slot], seqs[b.slot] + b.nth, evs[b.slot] + b.nth, b.account_id, b.device_id,
           ats[b.slot], coalesce(b.kind, 1::smallint), coalesce(b.flags, 0), b.reply_seq,
           b.media_id, b.body, b.extra
    from (select unnest(p_slot) as slot, unnest(p_nth) as nth, unnest(p_account) as account_id,
                 unnest(p_device) as device_id, unnest(p_kind) as kind, unnest(p_flags) as flags,
                 unnest(p_reply) as reply_seq, unnest(p_media) as media_id,
                 unnest(p_body) as body, unnest(p_extra) as extra) b
    where v_not is null or b.slot <> all(v_not);
  insert into dedup(day, chat_id, device_id, random_id, seq, ev, sent_at, digest)
    select p_day, p_ids[b.slot], b.device_id, b.random_id, seqs[b.slot] + b.nth,
           evs[b.slot] + b.nth, ats[b.slot], b.digest
    from (select unnest(p_slot) as slot, unnest(p_nth) as nth, unnest(p_device) as device_id,
                 unnest(p_random) as random_id, unnest(p_digest) as digest) b
    where v_not is null or b.slot <> all(v_not);
  update chat c set last_seq = c.last_seq + g.n, last_ev = c.last_ev + g.n, last_at = g.at
  from (select unnest(v_tids) as tid, unnest(p_counts) as n, unnest(ats) as at,
               generate_subscripts(p_counts, 1) as slot) g
  where c.ctid = g.tid and (v_not is null or g.slot <> all(v_not));
  -- an answer of usual values alone is null too: it costs both sides to send them
  if p_now = all(ats) then ats := null; end if;
  if 0 = all(chat_flags) then chat_flags := null; end if;
  if 0 = all(badge_epochs) then badge_epochs := null; end if;
  if 1 = all(epochs) then epochs := null; end if;
end $$
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(COMMIT_MESSAGES_V2)
