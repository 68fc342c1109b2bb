"""The account side of chats: reservations, personal facts, and the copy of one's memberships.

Key A = account_id. settle_members alone reads the chat side too: under the account's lock it
copies the truth as it is now, so that two changes settled in the wrong order cannot leave the
older one behind. It joins nothing; under Citus it is two statements of one transaction.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

# Reservations: the id of whoever came first.
RESERVE_DIRECT = """
create function reserve_direct(p_lo bigint, p_hi bigint, p_chat bigint) returns bigint
language plpgsql volatile as $$
begin
  insert into direct(lo_id, hi_id, chat_id) values (p_lo, p_hi, p_chat) on conflict do nothing;
  return (select d.chat_id from direct d where d.lo_id = p_lo and d.hi_id = p_hi);
end $$
"""
RESERVE_CREATE_KEY = """
create function reserve_create_key(p_now bigint, p_account bigint, p_device bigint,
  p_random bigint, p_chat bigint, p_keep bigint) returns bigint
language plpgsql volatile set enable_seqscan = off as $$
begin
  delete from create_key k where k.account_id = p_account and k.at < p_now - p_keep;
  insert into create_key(account_id, device_id, random_id, chat_id, at)
    values (p_account, p_device, p_random, p_chat, p_now) on conflict do nothing;
  return (select k.chat_id from create_key k where k.account_id = p_account
          and k.device_id = p_device and k.random_id = p_random);
end $$
"""

# p_field names the column; the draft lives in the event alone. No row: not a chat of the account.
# The same value again gives the aev it has.
SET_MEMBER_FACT = """
create function set_member_fact(p_now bigint, p_account bigint, p_chat bigint, p_kind smallint,
  p_field text, p_value bigint, p_payload jsonb) returns table(aev int, fresh boolean)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  m member%rowtype;
  v_aev int;
begin
  insert into account_head(account_id) values (p_account) on conflict do nothing;
  perform 1 from account_head h where h.account_id = p_account for update;
  select * into m from member where account_id = p_account and chat_id = p_chat and flags & 4 = 0;
  if m.chat_id is null then return; end if;
  if p_field = 'cleared_seq' and p_value < m.cleared_seq then  -- it only grows
    p_value := m.cleared_seq;
    p_payload := jsonb_build_object('cleared_seq', p_value);
  end if;
  select e.aev into v_aev from account_event e where e.account_id = p_account and e.kind = p_kind
    and e.chat_id = p_chat and e.payload = p_payload and p_kind < 100;
  if found then return query select v_aev, false; return; end if;
  update member set
    muted_until = case when p_field = 'muted_until' then p_value else muted_until end,
    pin_rank = case when p_field = 'pin_rank' then p_value else pin_rank end,
    folder = case when p_field = 'folder' then p_value else folder end,
    cleared_seq = case when p_field = 'cleared_seq' then p_value else cleared_seq end
    where account_id = p_account and chat_id = p_chat;
  return query select append_account_event(p_now, p_account, p_kind, p_chat, p_payload), true;
end $$
"""

# `here`: the account is a member now. `fresh`: this call wrote the fact; else aev is that of the
# fact written before (null where there was none), so that it can be told again after a crash.
SETTLE_MEMBERS = """
create function settle_members(p_now bigint, p_chat bigint, p_accounts bigint[], p_infos jsonb[],
  p_why text, p_joined smallint, p_left smallint)
returns table(account_id bigint, aev int, here boolean, fresh boolean)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  c record;
  s record;
  m record;
  v_account bigint;
  v_aev int;
  v_here boolean;
  i int;
begin
  insert into account_head(account_id) select a from unnest(p_accounts) a order by a
    on conflict do nothing;
  perform 1 from (select 1 from account_head h where h.account_id = any(p_accounts)
                  order by h.account_id for update) l;
  select kind, flags & 1 as big, flags & 4 as dead into c from chat where chat_id = p_chat;
  for i in 1..cardinality(p_accounts) loop
    v_account := p_accounts[i];
    v_aev := null;
    select * into s from membership where chat_id = p_chat and account_id = v_account;
    select * into m from member where account_id = v_account and chat_id = p_chat;
    v_here := coalesce(s.role, 0) > 0 and c.dead = 0;
    if v_here and (m.chat_id is null or m.flags & 4 <> 0 or m.joined_at <> s.joined_at) then
      insert into member as x (account_id, chat_id, kind, role, flags, joined_seq, read_seq,
          joined_at)
        values (v_account, p_chat, c.kind, s.role, c.big, s.joined_seq, s.joined_seq, s.joined_at)
        on conflict (account_id, chat_id) do update set role = s.role, flags = c.big,
          joined_seq = s.joined_seq, read_seq = greatest(x.read_seq, s.joined_seq),
          joined_at = s.joined_at;
      v_aev := append_account_event(p_now, v_account, p_joined, p_chat,
        jsonb_build_object('info', p_infos[i]));
    elsif v_here then
      update member set role = s.role, flags = c.big where account_id = v_account
        and chat_id = p_chat and (role, flags) is distinct from (s.role, c.big);
    elsif m.flags & 4 = 0 then
      update member set role = coalesce(s.role, 0), flags = m.flags | 4, pin_rank = null,
        folder = null where account_id = v_account and chat_id = p_chat;
      v_aev := append_account_event(p_now, v_account, p_left, p_chat,
        jsonb_build_object('why', p_why));
    end if;
    return query select v_account, coalesce(v_aev, (select e.aev from account_event e
      where e.account_id = v_account and e.chat_id = p_chat
      and e.kind = case when v_here then p_joined else p_left end order by e.aev desc limit 1)),
      v_here, v_aev is not null;
  end loop;
end $$
"""

# Under the lock of settle_members: a copy that read the flag before it was set is written by then.
MARK_BIG = """
create function mark_big(p_chat bigint, p_accounts bigint[]) returns void
language plpgsql volatile set enable_seqscan = off as $$
begin
  perform 1 from (select 1 from account_head h where h.account_id = any(p_accounts)
                  order by h.account_id for update) l;
  update member m set flags = m.flags | 1 where m.account_id = any(p_accounts)
    and m.chat_id = p_chat and m.flags & 1 = 0;
end $$
"""

FUNCTIONS: tuple[str, ...] = (
    RESERVE_DIRECT,
    RESERVE_CREATE_KEY,
    SET_MEMBER_FACT,
    SETTLE_MEMBERS,
    MARK_BIG,
)


def upgrade() -> None:
    for statement in FUNCTIONS:
        op.get_bind().exec_driver_sql(statement)
