"""Simple statements where one key is written, and the purges: bounded, repeatable, one key a call.

A function that takes one chat or one account serves both renderings, so it must hold no insert
inside a CTE and no `insert .. select`: this revision takes them out of the functions of 0002-0005.

A purge deletes at most p_limit rows of the oldest and raises the head in the same transaction, so
that a difference from before it answers `too_long` and one from after it is whole. It returns how
many rows went; 0: nothing is left to do.
"""

import re

from alembic import op

revision = "0009"
down_revision = "0008"

APPEND_EVENT = """
create or replace function append_event(p_now bigint, p_chat bigint, p_kind smallint, p_seq int,
  p_actor bigint, p_payload jsonb)
returns table(ev int, at bigint, seq int, chat_kind smallint, chat_flags int, member_ver int,
  epoch int)
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  u record;
begin
  update chat set last_ev = last_ev + 1, last_at = greatest(last_at, p_now)
    where chat_id = p_chat
    returning last_ev, last_seq, last_at, kind, flags, member_ver, epoch into u;
  if not found then return; end if;
  insert into chat_event(chat_id, ev, seq_then, kind, seq, actor_id, at, payload)
    values (p_chat, u.last_ev, u.last_seq, p_kind, p_seq, p_actor, u.last_at, p_payload);
  return query select u.last_ev, u.last_at, u.last_seq, u.kind, u.flags, u.member_ver, u.epoch;
end $$
"""

# What the account side must learn, with the ev that says it.
OWE = """
create function owe(p_now bigint, p_chat bigint, p_account bigint, p_more jsonb) returns void
language plpgsql volatile set enable_seqscan = off as $$
declare
  v_ev int;
begin
  select c.last_ev into v_ev from chat c where c.chat_id = p_chat;
  insert into outbox_c(chat_id, account_id, kind, payload, at)
    values (p_chat, p_account, 1, jsonb_build_object('ev', v_ev) || p_more, p_now);
end $$
"""

CREATE_CHAT = """
create or replace function create_chat(p_now bigint, p_chat bigint, p_kind smallint,
  p_owner bigint, p_title text, p_title_fold text, p_about text, p_username text, p_rights int,
  p_settings jsonb, p_flags int, p_accounts bigint[], p_roles smallint[], p_denied int[])
returns boolean language plpgsql volatile set enable_seqscan = off as $$
begin
  insert into chat(chat_id, kind, owner_id, title, title_fold, about, username, created_at,
      last_at, member_count, member_ver, rights, settings, flags)
    values (p_chat, p_kind, p_owner, p_title, p_title_fold, p_about, p_username, p_now, p_now,
      cardinality(p_accounts), 1, p_rights, p_settings, p_flags)
    on conflict (chat_id) do nothing;
  if not found then return false; end if;
  for i in 1 .. cardinality(p_accounts) loop
    insert into membership(chat_id, account_id, role, rights, joined_at)
      values (p_chat, p_accounts[i], p_roles[i], p_denied[i], p_now);
    insert into outbox_c(chat_id, account_id, kind, payload, at)
      values (p_chat, p_accounts[i], 1, '{}', p_now);
  end loop;
  return true;
end $$
"""

HIDE_MESSAGES = """
create or replace function hide_messages(p_now bigint, p_account bigint, p_chat bigint,
  p_kind smallint, p_seqs int[])
returns table(aev int, seqs int[])
language plpgsql volatile set enable_seqscan = off as $$
#variable_conflict use_column
declare
  fresh int[] := '{}';
  one int;
begin
  perform 1 from account_head h where h.account_id = p_account for update;
  perform 1 from member m where m.account_id = p_account and m.chat_id = p_chat
    and m.flags & 4 = 0;
  if not found then return; end if;
  for one in select distinct s from unnest(p_seqs) s order by s loop
    insert into hidden(account_id, chat_id, seq) values (p_account, p_chat, one)
      on conflict do nothing;
    if found then fresh := fresh || one; end if;
  end loop;
  if fresh = '{}' then
    return query select coalesce(max(h.last_aev), 0), '{}'::int[] from account_head h
      where h.account_id = p_account;
    return;
  end if;
  return query select append_account_event(p_now, p_account, p_kind, p_chat,
    jsonb_build_object('seqs', fresh)), fresh;
end $$
"""

PUT_CONTACTS = """
create or replace function put_contacts(p_now bigint, p_account bigint, p_peers bigint[],
  p_names text[], p_limit int, p_kind smallint) returns table(status smallint, aev int)
language plpgsql volatile as $$
#variable_conflict use_column
declare
  v_all int;
  v_known int;
  changed text[] := '{}';
begin
  perform 1 from account a where a.account_id = p_account for update;
  select count(*), count(*) filter (where c.peer_id = any(p_peers)) into v_all, v_known
    from contact c where c.account_id = p_account;
  if v_all + cardinality(p_peers) - v_known > p_limit then
    return query select 1::smallint, null::int;
    return;
  end if;
  for i in 1 .. cardinality(p_peers) loop
    insert into contact as c (account_id, peer_id, name, at)
      values (p_account, p_peers[i], p_names[i], p_now)
      on conflict (account_id, peer_id) do update set name = excluded.name
        where excluded.name <> '' and excluded.name <> c.name;
    if found then changed := changed || p_peers[i]::text; end if;
  end loop;
  if changed = '{}' then return query select 0::smallint, null::int; return; end if;
  changed := (select array_agg(x order by x::bigint) from unnest(changed) x);
  return query select 0::smallint, append_account_event(p_now, p_account, p_kind, 0,
    jsonb_build_object('accounts', to_jsonb(changed), 'on', true));
end $$
"""

PUT_ACCOUNT = """
create function put_account(p_account bigint, p_name text, p_fold text, p_hash bytea, p_enc bytea,
  p_now bigint, p_day int) returns bigint
language plpgsql volatile set enable_seqscan = off as $$
begin
  insert into account(account_id, kind, name, name_fold, phone_hash, phone_enc, created_at,
                      seen_day)
    values (p_account, 1, p_name, p_fold, p_hash, p_enc, p_now, p_day)
    on conflict (account_id) do nothing;
  if not found then return null; end if;
  insert into account_head(account_id) values (p_account) on conflict (account_id) do nothing;
  return p_account;
end $$
"""

PUT_SCHEDULED = """
create function put_scheduled(p_chat bigint, p_id bigint, p_due bigint, p_sender bigint,
  p_device bigint, p_random bigint, p_digest int, p_kind smallint, p_flags int, p_reply int,
  p_media bigint, p_body text, p_extra jsonb, p_now bigint, p_limit int) returns int
language plpgsql volatile set enable_seqscan = off as $$
declare
  v_digest int;
  n int;
begin
  select s.digest into v_digest from scheduled s where s.chat_id = p_chat and s.id = p_id;
  if found then return case when v_digest = p_digest then 1 else 2 end; end if;
  select count(*) into n from scheduled s where s.chat_id = p_chat and s.sender_id = p_sender;
  if n >= p_limit then return 3; end if;
  insert into scheduled(chat_id, id, due, sender_id, device_id, random_id, digest, kind, flags,
                        reply_seq, media_id, body, extra, created_at)
    values (p_chat, p_id, p_due, p_sender, p_device, p_random, p_digest, p_kind, p_flags, p_reply,
            p_media, p_body, p_extra, p_now)
    on conflict do nothing;
  return case when found then 0 else 3 end;
end $$
"""

# Bits: 1 events, 2 messages, 4 index, 8 join requests. In a chat times only grow with the numbers,
# so the oldest row tells; the count is looked at only where there can be too many.
PURGE_DUE = """
create function purge_due(p_chat bigint, p_keep int, p_event bigint, p_message bigint,
  p_index bigint, p_request bigint) returns int
language plpgsql stable set enable_seqscan = off as $$
declare
  v_at bigint;
  v_seq int;
  v_evs int;
  due int := 0;
begin
  select e.at into v_at from chat_event e where e.chat_id = p_chat order by e.ev limit 1;
  if v_at < p_event then due := 1;
  elsif found then
    select c.last_ev - c.purged_ev into v_evs from chat c where c.chat_id = p_chat;
    if v_evs > p_keep then
      perform 1 from chat_event e where e.chat_id = p_chat order by e.ev desc
        offset p_keep limit 1;
      if found then due := 1; end if;
    end if;
  end if;
  select m.sent_at into v_at from message m where m.chat_id = p_chat order by m.seq limit 1;
  if v_at < p_message then due := due | 2; end if;
  select i.seq into v_seq from message_index i where i.chat_id = p_chat order by i.seq limit 1;
  if found then
    select m.sent_at into v_at from message m where m.chat_id = p_chat and m.seq = v_seq;
    if not found or v_at < p_index then due := due | 4; end if;
  end if;
  perform 1 from join_request j where j.chat_id = p_chat and j.at < p_request limit 1;
  if found then due := due | 8; end if;
  return due;
end $$
"""

PURGE_EVENTS = """
create function purge_events(p_chat bigint, p_keep int, p_before bigint, p_limit int) returns int
language plpgsql volatile set enable_seqscan = off as $$
declare
  v_last int;
  cut record;
  n int;
begin
  perform 1 from chat c where c.chat_id = p_chat for update;
  select e.ev into v_last from chat_event e where e.chat_id = p_chat
    order by e.ev desc offset p_keep limit 1;
  select e.ev, e.seq_then into cut from (
    select x.ev, x.seq_then, x.at from chat_event x where x.chat_id = p_chat
    order by x.ev limit p_limit) e
    where e.at < p_before or e.ev <= v_last order by e.ev desc limit 1;
  if cut.ev is null then return 0; end if;
  delete from chat_event e where e.chat_id = p_chat and e.ev <= cut.ev;
  get diagnostics n = row_count;
  update chat c set purged_ev = cut.ev, purged_seq = cut.seq_then
    where c.chat_id = p_chat and c.purged_ev < cut.ev;
  return n;
end $$
"""

# Events of before the cut stay until their own time; they are right anchors still. What is gone
# counts as deleted, so unread numbers stay what a reader can count.
PURGE_MESSAGES = """
create function purge_messages(p_chat bigint, p_before bigint, p_limit int) returns int
language plpgsql volatile set enable_seqscan = off as $$
declare
  cut record;
  v_high int;
  n int;
begin
  perform 1 from chat c where c.chat_id = p_chat for update;
  select m.seq, m.ev into cut from (
    select x.seq, x.ev, x.sent_at from message x where x.chat_id = p_chat
    order by x.seq limit p_limit) m
    where m.sent_at < p_before order by m.seq desc limit 1;
  if cut.seq is null then return 0; end if;
  delete from message m where m.chat_id = p_chat and m.seq <= cut.seq;
  get diagnostics n = row_count;
  delete from message_index i where i.chat_id = p_chat and i.seq <= cut.seq;
  delete from pin p where p.chat_id = p_chat and p.seq <= cut.seq;
  delete from post_stat p where p.chat_id = p_chat and p.seq <= cut.seq;
  delete from reaction r where r.chat_id = p_chat and r.seq <= cut.seq;
  select max(g.high) into v_high from chat_gap g where g.chat_id = p_chat and g.low <= cut.seq + 1;
  delete from chat_gap g where g.chat_id = p_chat and g.low <= cut.seq + 1;
  insert into chat_gap(chat_id, low, high) values (p_chat, 1, greatest(cut.seq, v_high));
  update chat c set purged_ev = cut.ev, purged_seq = cut.seq
    where c.chat_id = p_chat and c.purged_ev < cut.ev;
  return n;
end $$
"""

PURGE_INDEX = """
create function purge_index(p_chat bigint, p_before bigint, p_limit int) returns int
language plpgsql volatile set enable_seqscan = off as $$
declare
  cut int;
  n int;
begin
  select max(i.seq) into cut from (
    select x.seq from message_index x where x.chat_id = p_chat order by x.seq limit p_limit) i
    left join message m on m.chat_id = p_chat and m.seq = i.seq
    where coalesce(m.sent_at, 0) < p_before;
  delete from message_index i where i.chat_id = p_chat and i.seq <= cut;
  get diagnostics n = row_count;
  return n;
end $$
"""

FACTS_DUE = """
create function facts_due(p_account bigint, p_keep int, p_before bigint) returns boolean
language plpgsql stable set enable_seqscan = off as $$
declare
  v_at bigint;
begin
  select e.at into v_at from account_event e where e.account_id = p_account order by e.aev limit 1;
  if not found then return false; end if;
  if v_at < p_before then return true; end if;
  perform 1 from account_event e where e.account_id = p_account order by e.aev desc
    offset p_keep limit 1;
  return found;
end $$
"""

PURGE_FACTS = """
create function purge_facts(p_account bigint, p_keep int, p_before bigint, p_limit int)
returns int language plpgsql volatile set enable_seqscan = off as $$
declare
  v_last int;
  cut int;
  n int;
begin
  perform 1 from account_head h where h.account_id = p_account for update;
  select e.aev into v_last from account_event e where e.account_id = p_account
    order by e.aev desc offset p_keep limit 1;
  select max(e.aev) into cut from (
    select x.aev, x.at from account_event x where x.account_id = p_account
    order by x.aev limit p_limit) e
    where e.at < p_before or e.aev <= v_last;
  if cut is null then return 0; end if;
  delete from account_event e where e.account_id = p_account and e.aev <= cut;
  get diagnostics n = row_count;
  update account_head h set purged_aev = cut
    where h.account_id = p_account and h.purged_aev < cut;
  return n;
end $$
"""

JOBS = """
create table purge_job (
  name text not null, cursor bigint not null default 0, owner text not null default '',
  until bigint not null default 0, finished_at bigint not null default 0, primary key (name)
)
"""

FUNCTIONS: tuple[str, ...] = (APPEND_EVENT, OWE, CREATE_CHAT, HIDE_MESSAGES, PUT_CONTACTS)
FUNCTIONS += (PUT_ACCOUNT, PUT_SCHEDULED, PURGE_DUE, PURGE_EVENTS, PURGE_MESSAGES, PURGE_INDEX)
FUNCTIONS += (FACTS_DUE, PURGE_FACTS, JOBS)

OUTBOX = re.compile(
    r"insert into outbox_c\(chat_id, account_id, kind, payload, at\)\s+"
    r"select p_chat, (\S+), 1, jsonb_build_object\('ev', h\.last_ev(?:, ([^)]*))?\), p_now\s+"
    r"from chat h where h\.chat_id = p_chat;"
)
WITH_OUTBOX = ("admit_members", "change_member", "transfer_chat")
UNBOUNDED = (
    "drop function purge_chat_events(bigint, int, bigint)",
    "drop function purge_account_events(bigint, int, bigint)",
)


def upgrade() -> None:
    bind = op.get_bind()
    for statement in (*FUNCTIONS, *UNBOUNDED):
        bind.exec_driver_sql(statement)
    for name in WITH_OUTBOX:
        found = bind.exec_driver_sql(f"select pg_get_functiondef('{name}'::regproc)")
        bind.exec_driver_sql(OUTBOX.sub(_owe, found.scalar_one()))


def _owe(found: re.Match[str]) -> str:
    return f"perform owe(p_now, p_chat, {found[1]}, jsonb_build_object({found[2] or ''}));"
