-- After a restore to an earlier moment, before any node starts, as peyk_owner. Numbers given since
-- that moment will be given again to other events, and devices still hold the old ones. Each chat
-- begins another life and each account's line jumps, so that every device starts anew from what is
-- there instead of taking new events for ones it knows. No rows are lost by it.
\set ON_ERROR_STOP on
begin;
update chat set epoch = epoch + 1;
update account_head set last_aev = last_aev + 1000000, purged_aev = last_aev + 1000000;
commit;
