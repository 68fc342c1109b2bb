"""The functions of chats: one call = one transaction = one round trip.

Key C = chat_id: create_chat, admit_members, change_member, transfer_chat, update_chat,
delete_chat, expel_members, pin_message, put_link. Each locks the chat first, checks, then numbers; what the
account side must learn goes to outbox_c in the same transaction (0006 has that side).

Rows of outbox_c: kind 1 settle this account, 2 the chat became big, 3 the chat is deleted.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

# What every change of a chat answers. Status 0 done, 1 nothing to do, 4 no chat or not a member,
# 6 not allowed; the others are told at the function.
HEAD = """status smallint, ev int, at bigint, seq int, chat_kind smallint, chat_flags int,
  member_ver int, epoch int"""

# True where the chat was made by this call; a repeat finds it and changes nothing.
CREATE_CHAT = """
create function create_chat(p_now bigint, p_chat bigint, p_kind smallint, p_owner bigint,
  p_title text, p_title_fold text, p_about text, p_username text, p_rights int, p_settings jsonb,
  p_flags int, p_accounts bigint[], p_roles smallint[], p_denied int[])
returns boolean language plpgsql volatile set enable_seqscan = off as $$
begin
  insert into chat(chat_id, kind, owner_id, title, title_fold, about, username, created_at,
      last_at, member_count, member_ver, rights, settings, flags)
    values (p_chat, p_kind, p_owner, p_title, p_title_fold, p_about, p_username, p_now, p_now,
      cardinality(p_accounts), 1, p_rights, p_settings, p_flags)
    on conflict (chat_id) do nothing;
  if not found then return false; end if;
  insert into membership(chat_id, account_id, role, rights, joined_at)
    select p_chat, t.account_id, t.role, t.rights, p_now
    from unnest(p_accounts, p_roles, p_denied) as t(account_id, role, rights);
  insert into outbox_c(chat_id, account_id, kind, payload, at)
    select p_chat, t.account_id, 1, '{}', p_now from unnest(p_accounts) as t(account_id);
  return true;
end $$
"""

# Status of an account: 0 in (with its role), 1 was in, 2 banned (until), 3 full. One row with account 0 where all
# are refused (4, 6, or 5: link dead, no such request), or for the event of becoming big (9).
# The link's uses are counted here, under the chat's lock: 10,000 clicks at once cannot pass it.
ADMIT_MEMBERS = """
create function admit_members(p_now bigint, p_chat bigint, p_actor bigint, p_needs int,
  p_accounts bigint[], p_link bytea, p_requested boolean, p_limit int, p_small int)
returns table(account_id bigint, role text, until bigint, $HEAD)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  c record;
  mb record;
  v_link bytea := p_link;
  v_account bigint;
  v_joined int := 0;
  v_role text;
  refused smallint := 0;
begin
  select * into c from chat where chat_id = p_chat for update;
  select * into mb from membership where chat_id = p_chat and account_id = p_actor;
  if c.chat_id is null or c.flags & 4 <> 0 then refused := 4;
  elsif p_needs <> 0 and coalesce(mb.role, 0) <= 0 then refused := 4;
  elsif p_needs <> 0 and not may(p_now, p_needs, c.kind, c.rights, mb.role, mb.rights, mb.until)
    then refused := 6;
  elsif p_requested then
    select j.link_hash into v_link from join_request j
      where j.chat_id = p_chat and j.account_id = p_accounts[1];
    if not found then refused := 5; end if;
  elsif p_link is not null then
    perform 1 from invite_link l where l.chat_id = p_chat and l.link_hash = p_link
      and l.revoked_at is null and (l.expires_at is null or l.expires_at > p_now)
      and (l.max_uses is null or l.uses < l.max_uses);
    if not found then refused := 5; end if;
  end if;
  if refused > 0 then
    return query select 0::bigint, null, 0::bigint, refused, c.last_ev, c.last_at, c.last_seq, c.kind,
      c.flags, c.member_ver, c.epoch;
    return;
  end if;
  -- in one order for all, as others lock seats without the chat
  for v_account in select a from unnest(p_accounts) a order by a loop
    select * into mb from membership where chat_id = p_chat and account_id = v_account;
    refused := case when mb.role > 0 then 1
      when mb.role < 0 and (mb.until = 0 or mb.until > p_now) then 2
      when c.member_count + v_joined >= p_limit then 3 else 0 end;
    if refused > 0 then
      return query select v_account, null, mb.until, refused, h.last_ev, h.last_at, h.last_seq, h.kind,
        h.flags, h.member_ver, h.epoch from chat h where h.chat_id = p_chat;
      continue;
    end if;
    -- who was restricted and left comes back restricted
    v_role := case when mb.role = 0 and mb.rights <> 0 and (mb.until = 0 or mb.until > p_now)
      then 'restricted' else 'member' end;
    insert into membership as m (chat_id, account_id, role, joined_at, joined_seq)
      values (p_chat, v_account, 1, p_now, c.last_seq)
      on conflict (chat_id, account_id) do update set role = 1, joined_at = excluded.joined_at,
        joined_seq = excluded.joined_seq,
        rights = case when v_role = 'restricted' then m.rights else 0 end,
        until = case when v_role = 'restricted' then m.until else 0 end;
    delete from join_request j where j.chat_id = p_chat and j.account_id = v_account;
    v_joined := v_joined + 1;
    update chat set member_count = c.member_count + v_joined, member_ver = c.member_ver + 1
      where chat_id = p_chat;
    if c.kind <> 3 then  -- joins are no events in channels
      perform append_event(p_now, p_chat, 7::smallint, null, p_actor,
        jsonb_build_object('account', v_account::text, 'role', v_role));
    end if;
    insert into outbox_c(chat_id, account_id, kind, payload, at)
      select p_chat, v_account, 1, jsonb_build_object('ev', h.last_ev), p_now
      from chat h where h.chat_id = p_chat;
    return query select v_account, v_role, 0::bigint, 0::smallint, h.last_ev, h.last_at, h.last_seq,
      h.kind, c.flags, h.member_ver, h.epoch from chat h where h.chat_id = p_chat;
  end loop;
  if v_joined > 0 and v_link is not null then
    -- an admin may let in who asked by a link that ended meanwhile; it does not count beyond its end
    update invite_link l set uses = l.uses + v_joined
      where l.chat_id = p_chat and l.link_hash = v_link
      and l.revoked_at is null and (l.expires_at is null or l.expires_at > p_now)
      and (l.max_uses is null or l.uses < l.max_uses);
  end if;
  if c.flags & 1 = 0 and c.member_count + v_joined > p_small then
    perform append_event(p_now, p_chat, 9::smallint, null, p_actor, null);
    update chat set flags = c.flags | 1 where chat_id = p_chat;
    insert into outbox_c(chat_id, account_id, kind, payload, at)
      values (p_chat, 0, 2, '{}', p_now);
    return query select 0::bigint, null, 0::bigint, 9::smallint, h.last_ev, h.last_at, h.last_seq,
      h.kind, c.flags, h.member_ver, h.epoch from chat h where h.chat_id = p_chat;
  end if;
end $$
"""

# One member's role and rights, given what the caller saw of the actor and of the member; status 5
# where that is no longer so: read again and decide again. p_why goes to the one who loses the seat.
CHANGE_MEMBER = """
create function change_member(p_now bigint, p_chat bigint, p_actor bigint, p_actor_role smallint,
  p_actor_rights int, p_account bigint, p_seen_role smallint, p_seen_rights int, p_role smallint,
  p_rights int, p_until bigint, p_kind smallint, p_name text, p_why text)
returns table($HEAD) language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  c record;
  a record;
  mb record;
  st smallint := 0;
begin
  select * into c from chat where chat_id = p_chat for update;
  select * into a from membership where chat_id = p_chat and account_id = p_actor;
  select * into mb from membership where chat_id = p_chat and account_id = p_account;
  if c.chat_id is null or c.flags & 4 <> 0 then st := 4;
  elsif (a.role, a.rights) is distinct from (p_actor_role, p_actor_rights)
    or (coalesce(mb.role, 0), coalesce(mb.rights, 0)) is distinct from (p_seen_role, p_seen_rights)
    then st := 5;
  elsif (mb.role, mb.rights, mb.until) is not distinct from (p_role, p_rights, p_until)
    then st := 1;
  end if;
  if st > 0 then
    return query select st, c.last_ev, c.last_at, c.last_seq, c.kind, c.flags, c.member_ver,
      c.epoch;
    return;
  end if;
  insert into membership(chat_id, account_id, role, rights, until)
    values (p_chat, p_account, p_role, p_rights, p_until)
    on conflict (chat_id, account_id) do update
    set role = excluded.role, rights = excluded.rights, until = excluded.until;
  update chat set member_ver = c.member_ver + 1, member_count = c.member_count
      + (p_role > 0)::int - (p_seen_role > 0)::int where chat_id = p_chat;
  if p_role < 0 then
    delete from join_request j where j.chat_id = p_chat and j.account_id = p_account;
  end if;
  if c.kind <> 3 then
    perform append_event(p_now, p_chat, p_kind, null, p_actor,
      jsonb_build_object('account', p_account::text, 'role', p_name));
  end if;
  if p_role <> p_seen_role and (p_role > 0 or p_seen_role > 0) then
    insert into outbox_c(chat_id, account_id, kind, payload, at)
      select p_chat, p_account, 1, jsonb_build_object('ev', h.last_ev, 'why', p_why), p_now
      from chat h where h.chat_id = p_chat;
  end if;
  return query select 0::smallint, h.last_ev, h.last_at, h.last_seq, h.kind, h.flags, h.member_ver,
    h.epoch from chat h where h.chat_id = p_chat;
end $$
"""

# Two rows when done: the old owner's event, then the new one's.
TRANSFER_CHAT = """
create function transfer_chat(p_now bigint, p_chat bigint, p_actor bigint, p_account bigint,
  p_all int) returns table(account_id bigint, $HEAD)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  c record;
  st smallint := 0;
  v_actor smallint;
  v_account smallint;
  one record;
begin
  select * into c from chat where chat_id = p_chat for update;
  select role into v_actor from membership where chat_id = p_chat and account_id = p_actor;
  select role into v_account from membership where chat_id = p_chat and account_id = p_account;
  if c.chat_id is null or c.flags & 4 <> 0 or coalesce(v_actor, 0) <= 0 then st := 4;
  elsif v_actor < 4 or p_actor = p_account or coalesce(v_account, 0) <= 0 then st := 6;
  end if;
  if st > 0 then
    return query select 0::bigint, st, c.last_ev, c.last_at, c.last_seq, c.kind, c.flags,
      c.member_ver, c.epoch;
    return;
  end if;
  update chat set owner_id = p_account, member_ver = c.member_ver + 1 where chat_id = p_chat;
  for one in select * from (values (p_actor, 3::smallint, p_all, 'admin'),
                                   (p_account, 4::smallint, 0, 'owner')) v(id, role, rights, name)
  loop
    update membership set role = one.role, rights = one.rights, until = 0
      where chat_id = p_chat and account_id = one.id;
    if c.kind <> 3 then
      perform append_event(p_now, p_chat, 8::smallint, null, p_actor,
        jsonb_build_object('account', one.id::text, 'role', one.name));
    end if;
    insert into outbox_c(chat_id, account_id, kind, payload, at)
      select p_chat, one.id, 1, jsonb_build_object('ev', h.last_ev), p_now
      from chat h where h.chat_id = p_chat;
    return query select one.id, 0::smallint, h.last_ev, h.last_at, h.last_seq, h.kind, h.flags,
      h.member_ver, h.epoch from chat h where h.chat_id = p_chat;
  end loop;
end $$
"""

# p_needs: bits of rights, all of them needed; 512 more: the owner's alone. p_set: new values by
# column; p_wire: the same as members see it. username_before: as it was under the lock.
UPDATE_CHAT = """
create function update_chat(p_now bigint, p_chat bigint, p_actor bigint, p_needs int, p_set jsonb,
  p_wire jsonb) returns table(username_before text, $HEAD)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  c chat%rowtype;
  n chat%rowtype;
  mb record;
  st smallint := 0;
begin
  select * into c from chat where chat_id = p_chat for update;
  select * into mb from membership where chat_id = p_chat and account_id = p_actor;
  if c.chat_id is null or c.flags & 4 <> 0 or coalesce(mb.role, 0) <= 0 then st := 4;
  elsif c.kind = 1 or (p_needs & 512 <> 0 and mb.role < 4) or exists (
      select 1 from generate_series(0, 8) b where p_needs & (1 << b) <> 0
      and not may(p_now, 1 << b, c.kind, c.rights, mb.role, mb.rights, mb.until)) then st := 6;
  end if;
  if st = 0 then
    n := jsonb_populate_record(c, p_set - 'settings');
    n.settings := coalesce(c.settings, '{}') || coalesce(p_set -> 'settings', '{}');
    n.flags := (c.flags & ~coalesce((p_set ->> 'flags_off')::int, 0))
      | coalesce((p_set ->> 'flags_on')::int, 0);
    if (n.title, n.about, n.username, n.photo_id, n.slow_s, n.rights, n.flags)
        is not distinct from (c.title, c.about, c.username, c.photo_id, c.slow_s, c.rights, c.flags)
      and n.settings = coalesce(c.settings, '{}') then st := 1; end if;
  end if;
  if st > 0 then
    return query select c.username, st, c.last_ev, c.last_at, c.last_seq, c.kind, c.flags,
      c.member_ver, c.epoch;
    return;
  end if;
  update chat set title = n.title, title_fold = n.title_fold, about = n.about,
    username = n.username, photo_id = n.photo_id, slow_s = n.slow_s, rights = n.rights,
    settings = n.settings, flags = n.flags,
    member_ver = c.member_ver + (n.rights <> c.rights)::int where chat_id = p_chat;
  return query select c.username, 0::smallint, e.* from append_event(p_now, p_chat, 6::smallint,
    null, p_actor, jsonb_build_object('set', p_wire)) e;
end $$
"""

# Nobody may write from here on. Members of a big chat lose their seats later, in slices.
DELETE_CHAT = """
create function delete_chat(p_now bigint, p_chat bigint, p_actor bigint)
returns table(username text, $HEAD) language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  c record;
  v_role smallint;
begin
  select * into c from chat where chat_id = p_chat for update;
  select role into v_role from membership where chat_id = p_chat and account_id = p_actor;
  if c.chat_id is null or c.flags & 4 <> 0 or coalesce(v_role, 0) < 4 then
    return query select null::text, case when c.flags & 4 <> 0 or coalesce(v_role, 0) <= 0 then 4
      else 6 end::smallint, c.last_ev, c.last_at, c.last_seq, c.kind, c.flags, c.member_ver,
      c.epoch;
    return;
  end if;
  update chat set flags = flags | 4, username = null, member_ver = c.member_ver + 1
    where chat_id = p_chat;
  insert into outbox_c(chat_id, account_id, kind, payload, at)
    values (p_chat, 0, 3, jsonb_build_object('after', '0'), p_now);
  return query select c.username, 0::smallint, e.ev, e.at, e.seq, e.chat_kind, c.flags,
    e.member_ver, e.epoch from append_event(p_now, p_chat, 10::smallint, null, p_actor, null) e;
end $$
"""

EXPEL_MEMBERS = """
create function expel_members(p_chat bigint, p_after bigint, p_limit int) returns setof bigint
language plpgsql volatile set enable_seqscan = off as $$
declare
  v_accounts bigint[];
begin
  perform 1 from chat where chat_id = p_chat for update;
  select coalesce(array_agg(s.account_id order by s.account_id), '{}') into v_accounts from (
    select m.account_id from membership m where m.chat_id = p_chat and m.account_id > p_after
    order by m.account_id limit p_limit for update) s;
  update membership m set role = 0, rights = 0 where m.chat_id = p_chat
    and m.account_id = any(v_accounts) and m.role > 0;
  return query select a from unnest(v_accounts) a order by a;
end $$
"""

# False where the chat has as many links as allowed, counted under its lock, or is deleted.
PUT_LINK = """
create function put_link(p_now bigint, p_chat bigint, p_hash bytea, p_creator bigint,
  p_expires bigint, p_uses int, p_approval boolean, p_limit int) returns boolean
language plpgsql volatile set enable_seqscan = off as $$
begin
  perform 1 from chat where chat_id = p_chat and flags & 4 = 0 for update;
  if not found or (select count(*) from invite_link l where l.chat_id = p_chat
    and l.revoked_at is null) >= p_limit then return false; end if;
  insert into invite_link(chat_id, link_hash, creator_id, created_at, expires_at, max_uses,
    approval) values (p_chat, p_hash, p_creator, p_now, p_expires, p_uses, p_approval);
  return true;
end $$
"""

# Status 2: no such message, 3: as many pins as allowed.
PIN_MESSAGE = """
create function pin_message(p_now bigint, p_chat bigint, p_actor bigint, p_seq int, p_on boolean,
  p_silent boolean, p_limit int) returns table($HEAD)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  c record;
  mb record;
  v_pinned boolean;
  st smallint := 0;
begin
  select * into c from chat where chat_id = p_chat for update;
  select * into mb from membership where chat_id = p_chat and account_id = p_actor;
  v_pinned := exists (select 1 from pin where chat_id = p_chat and seq = p_seq);
  if c.chat_id is null or c.flags & 4 <> 0 or coalesce(mb.role, 0) <= 0 then st := 4;
  elsif not may(p_now, 32, c.kind, c.rights, mb.role, mb.rights, mb.until)
    -- a block denies the right to post: who is blocked tells the other side nothing by pins either
    or (c.kind = 1 and not may(p_now, 1, c.kind, c.rights, mb.role, mb.rights, mb.until))
    then st := 6;
  elsif not exists (select 1 from message where chat_id = p_chat and seq = p_seq
                    and flags & 1 = 0)
    -- a message from before one's time is nobody's to point at
    or (c.flags & 32 <> 0 and p_seq <= mb.joined_seq) then st := 2;
  elsif v_pinned = p_on then st := 1;
  elsif p_on and (select count(*) from pin where chat_id = p_chat) >= p_limit then st := 3;
  end if;
  if st > 0 then
    return query select st, c.last_ev, c.last_at, c.last_seq, c.kind, c.flags, c.member_ver,
      c.epoch;
    return;
  end if;
  if p_on then
    insert into pin(chat_id, seq, by_id, at) values (p_chat, p_seq, p_actor, p_now);
  else
    delete from pin where chat_id = p_chat and seq = p_seq;
  end if;
  return query select 0::smallint, e.* from append_event(p_now, p_chat, 4::smallint, p_seq,
    p_actor, jsonb_strip_nulls(jsonb_build_object('on', p_on,
      'silent', case when p_silent then true end))) e;
end $$
"""

FUNCTIONS: tuple[str, ...] = (
    CREATE_CHAT,
    ADMIT_MEMBERS,
    CHANGE_MEMBER,
    TRANSFER_CHAT,
    UPDATE_CHAT,
    DELETE_CHAT,
)
FUNCTIONS += (EXPEL_MEMBERS, PIN_MESSAGE, PUT_LINK)


def upgrade() -> None:
    for statement in FUNCTIONS:
        op.get_bind().exec_driver_sql(statement.replace("$HEAD", HEAD))
