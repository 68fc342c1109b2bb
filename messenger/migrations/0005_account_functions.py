"""The functions of sign-in, devices, contacts and blocks: one call = one transaction.

Key A = account_id, except `deny_in_direct` (key C = chat_id), the second half of a block. Each
locks the account (the chat) first, so that what it counted still holds when it writes, and the
fact it appends has the number that a reader of the change will see.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

# Rows: the devices that had to go (`is_new` false), then the new one. No row: the account is gone
# for good. Signing in undoes a deletion (status 1) that is not final yet.
ADD_DEVICE = """
create function add_device(p_now bigint, p_day int, p_account bigint, p_device bigint,
  p_name text, p_platform text, p_app text, p_hash bytea, p_limit int,
  p_kind_new smallint, p_kind_revoked smallint)
returns table(device_id bigint, is_new boolean, aev int)
language plpgsql volatile as $$
#variable_conflict use_column
declare
  old bigint;
begin
  perform 1 from account a where a.account_id = p_account and a.status < 2 for update;
  if not found then return; end if;
  update account a set status = 0, deleted_at = null, seen_day = p_day
    where a.account_id = p_account and (a.status <> 0 or a.seen_day < p_day);
  for old in
    select d.device_id from device d where d.account_id = p_account and d.revoked_at is null
    order by d.seen_day desc, d.created_at desc, d.device_id desc offset p_limit - 1
  loop
    return query select r.device_id, false, r.aev
      from revoke_devices(p_now, p_account, array[old], p_kind_revoked) r;
  end loop;
  insert into device(account_id, device_id, name, platform, app, refresh_hash, created_at,
                     seen_day)
    values (p_account, p_device, p_name, p_platform, p_app, p_hash, p_now, p_day);
  return query select p_device, true, append_account_event(p_now, p_account, p_kind_new, 0,
    jsonb_build_object('device_id', p_device::text, 'name', p_name, 'platform', p_platform,
                       'at', p_now));
end $$
"""

# p_devices null: all of them. Those revoked before are left out of the answer.
REVOKE_DEVICES = """
create function revoke_devices(p_now bigint, p_account bigint, p_devices bigint[],
  p_kind smallint, p_except bigint default 0)
returns table(device_id bigint, aev int)
language plpgsql volatile as $$
#variable_conflict use_column
declare
  id bigint;
begin
  perform 1 from account a where a.account_id = p_account for update;
  for id in
    update device d set revoked_at = p_now, refresh_prev = null, push_token = null
    where d.account_id = p_account and d.revoked_at is null and d.device_id <> p_except
      and (p_devices is null or d.device_id = any(p_devices))
    returning d.device_id
  loop
    return query select id, append_account_event(p_now, p_account, p_kind, 0,
      jsonb_build_object('device_id', id::text));
  end loop;
end $$
"""

# 0 rotated, 1 sign in again (unknown, revoked, idle or deleted), 2 a token that was replaced:
# somebody else has a copy. The one before the current token stays good for p_grace ms, because its
# answer may have been lost; for longer, a thief would walk along the chain unnoticed.
ROTATE_REFRESH = """
create function rotate_refresh(p_now bigint, p_grace bigint, p_day int, p_oldest_day int, p_account bigint, p_device bigint,
  p_shown bytea, p_next bytea) returns smallint
language plpgsql volatile as $$
declare
  d record;
begin
  perform 1 from account a where a.account_id = p_account and a.status = 0;
  if not found then return 1; end if;
  select * into d from device t
    where t.account_id = p_account and t.device_id = p_device for update;
  if not found or d.revoked_at is not null or d.seen_day < p_oldest_day then return 1; end if;
  if d.refresh_hash = p_shown then
    update device t set refresh_prev = p_shown, refresh_hash = p_next, seen_day = p_day,
                        rotated_at = p_now
      where t.account_id = p_account and t.device_id = p_device;
    return 0;
  elsif d.refresh_prev = p_shown and d.rotated_at + p_grace >= p_now then
    update device t set refresh_hash = p_next, seen_day = p_day
      where t.account_id = p_account and t.device_id = p_device;
    return 0;
  end if;
  return 2;
end $$
"""

# All devices go with it; the answer names them. Null aev: the account was not active.
CLOSE_ACCOUNT = """
create function close_account(p_now bigint, p_account bigint, p_kind_revoked smallint)
returns table(device_id bigint, aev int)
language plpgsql volatile as $$
begin
  update account a set status = 1, deleted_at = p_now
    where a.account_id = p_account and a.status = 0;
  return query select r.device_id, r.aev
    from revoke_devices(p_now, p_account, null, p_kind_revoked) r;
end $$
"""

# Status 0 done, 1 too many. Null aev: nothing changed for the reader of contacts.
PUT_CONTACTS = """
create function put_contacts(p_now bigint, p_account bigint, p_peers bigint[], p_names text[],
  p_limit int, p_kind smallint) returns table(status smallint, aev int)
language plpgsql volatile as $$
#variable_conflict use_column
declare
  changed text[];
begin
  perform 1 from account a where a.account_id = p_account for update;
  if (select count(*) from contact c where c.account_id = p_account)
     + (select count(*) from unnest(p_peers) as t(peer)
        where not exists (select 1 from contact c
                          where c.account_id = p_account and c.peer_id = t.peer)) > p_limit then
    return query select 1::smallint, null::int;
    return;
  end if;
  with put as (
    insert into contact as c (account_id, peer_id, name, at)
    select p_account, t.peer, t.name, p_now from unnest(p_peers, p_names) as t(peer, name)
    on conflict (account_id, peer_id) do update set name = excluded.name
      where excluded.name <> '' and excluded.name <> c.name
    returning c.peer_id)
  select array_agg(peer_id::text order by peer_id) into changed from put;
  if changed is null then return query select 0::smallint, null::int; return; end if;
  return query select 0::smallint, append_account_event(p_now, p_account, p_kind, 0,
    jsonb_build_object('accounts', to_jsonb(changed), 'on', true));
end $$
"""

DROP_CONTACT = """
create function drop_contact(p_now bigint, p_account bigint, p_peer bigint, p_kind smallint)
returns int
language plpgsql volatile as $$
begin
  perform 1 from account a where a.account_id = p_account for update;
  delete from contact c where c.account_id = p_account and c.peer_id = p_peer;
  if not found then return null; end if;
  return append_account_event(p_now, p_account, p_kind, 0,
    jsonb_build_object('accounts', jsonb_build_array(p_peer::text), 'on', false));
end $$
"""

# Truth, fact and the outbox row of the second half (data-model 4.6). Status 0 changed, 1 was so
# already, 2 too many. `n` names the outbox row; an unchanged state leaves one too, because the
# half that failed may be the reason of the repeat.
SET_BLOCK = """
create function set_block(p_now bigint, p_account bigint, p_peer bigint, p_on boolean,
  p_limit int, p_kind smallint, p_outbox_kind smallint)
returns table(status smallint, aev int, n bigint)
language plpgsql volatile as $$
#variable_conflict use_column
declare
  changed boolean;
  fact int;
  row_n bigint;
begin
  perform 1 from account a where a.account_id = p_account for update;
  if p_on then
    if (select count(*) from block b where b.account_id = p_account) >= p_limit
       and not exists (select 1 from block b
                       where b.account_id = p_account and b.peer_id = p_peer) then
      return query select 2::smallint, 0, 0::bigint;
      return;
    end if;
    insert into block(account_id, peer_id, at) values (p_account, p_peer, p_now)
      on conflict (account_id, peer_id) do nothing;
  else
    delete from block b where b.account_id = p_account and b.peer_id = p_peer;
  end if;
  changed := found;
  insert into outbox_a(account_id, peer_id, kind, at)
    values (p_account, p_peer, p_outbox_kind, p_now) returning outbox_a.n into row_n;
  if changed then
    fact := append_account_event(p_now, p_account, p_kind, 0,
      jsonb_build_object('account', p_peer::text, 'on', p_on));
  else
    select h.last_aev into fact from account_head h where h.account_id = p_account;
  end if;
  return query select (not changed)::int::smallint, coalesce(fact, 0), row_n;
end $$
"""

# The second half, key C: right 1 (post) is denied to the blocked side of a direct chat, or given
# back. The chat's lock orders it with commits: after it, no message of that side is written.
DENY_IN_DIRECT = """
create function deny_in_direct(p_chat bigint, p_account bigint, p_on boolean) returns boolean
language plpgsql volatile set enable_seqscan = off as $$
begin
  perform 1 from chat c where c.chat_id = p_chat for update;
  update membership m set rights = case when p_on then m.rights | 1 else m.rights & ~1 end,
                          until = 0
    where m.chat_id = p_chat and m.account_id = p_account and (m.rights & 1 <> 0) <> p_on;
  if not found then return false; end if;
  update chat c set member_ver = c.member_ver + 1 where c.chat_id = p_chat;
  return true;
end $$
"""

INDEXES = (
    # Three cold jobs look by time and would otherwise read whole tables.
    "create index account_deleted on account (deleted_at) where deleted_at is not null",
    "create index device_revoked on device (revoked_at) where revoked_at is not null",
    "create index otp_issued on otp (issued_at)",
)

FUNCTIONS: tuple[str, ...] = (REVOKE_DEVICES, ADD_DEVICE, ROTATE_REFRESH, CLOSE_ACCOUNT)
FUNCTIONS += (PUT_CONTACTS, DROP_CONTACT, SET_BLOCK, DENY_IN_DIRECT)


def upgrade() -> None:
    for statement in (*INDEXES, *FUNCTIONS):
        op.get_bind().exec_driver_sql(statement)
