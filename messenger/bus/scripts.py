"""The Lua scripts: what must happen in Redis in one step.

Each begins with `#!lua`, which makes a one-node cluster refuse undeclared slots as a real cluster
does. KEYS are declared in full and share a tag; a script publishes to topics of its own slot only.
"""

import hashlib


class Script:
    """A script and the hash by which EVALSHA names it."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, body: str) -> None:
        self.name = name
        self.text = f"#!lua\n{body.strip()}\n"
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


ATTACH = Script(
    "attach",
    """
-- KEYS meta, stream  ARGV run8, new_epoch, ttl, ttl+60  -> epoch, top
if redis.call('HGET',KEYS[1],'r') ~= ARGV[1] then
  redis.call('DEL',KEYS[2]) redis.call('HSET',KEYS[1],'r',ARGV[1],'e',ARGV[2])
end
redis.call('EXPIRE',KEYS[1],ARGV[3]) redis.call('EXPIRE',KEYS[2],ARGV[4])
local t = redis.call('XREVRANGE',KEYS[2],'+','-','COUNT',1)
return {redis.call('HGET',KEYS[1],'e'), t[1] and string.sub(t[1][1],3) or '0'}
""",
)

APPEND = Script(
    "append",
    """
-- KEYS meta, stream  ARGV run8, ttl+60, new_epoch, window, update...
-- -> nil (account not active) or epoch, offset of the last
local h = redis.call('HMGET',KEYS[1],'r','e')
if not h[1] then return nil end
if h[1] ~= ARGV[1] then
  redis.call('DEL',KEYS[2]) redis.call('HSET',KEYS[1],'r',ARGV[1],'e',ARGV[3]) h[2] = ARGV[3]
end
local o = string.sub(redis.call('XADD',KEYS[2],'MAXLEN','~',ARGV[4],'0-*','d',ARGV[5]),3)
if o == '1' then redis.call('EXPIRE',KEYS[2],ARGV[2]) end -- later it lives as ATTACH says
local said = h[2]..' '..o..' '..ARGV[5]
for i = 6, #ARGV do
  o = string.sub(redis.call('XADD',KEYS[2],'MAXLEN','~',ARGV[4],'0-*','d',ARGV[i]),3)
  said = said..'\\n'..ARGV[i]
end
redis.call('SPUBLISH',KEYS[2],said)
return {h[2], o}
""",
)

PUBLISH = Script(
    "publish",
    """
-- KEYS meta, stream, [idempotency]  ARGV publication, run8, size, ttl, meta_ttl, new_epoch, life
-- -> epoch, offset ('-', 0 where the topic keeps no history)
if KEYS[3] then
  local done = redis.call('HMGET',KEYS[3],'e','o')
  if done[1] then return done end
end
local e, o = '-', '0'
if tonumber(ARGV[3]) > 0 then
  local h = redis.call('HMGET',KEYS[1],'r','e')
  e = h[2]
  if h[1] ~= ARGV[2] then
    e = ARGV[6]
    redis.call('DEL',KEYS[2]) redis.call('HSET',KEYS[1],'r',ARGV[2],'e',e,'o',0)
  end
  o = string.format('%.0f', redis.call('HINCRBY',KEYS[1],'o',1))
  redis.call('XADD',KEYS[2],'MAXLEN',ARGV[3],'0-'..o,'d',ARGV[1])
  redis.call('EXPIRE',KEYS[2],ARGV[4]) redis.call('EXPIRE',KEYS[1],ARGV[5])
end
redis.call('SPUBLISH',KEYS[2],'p '..e..' '..o..' '..ARGV[1])
if KEYS[3] then
  redis.call('HSET',KEYS[3],'e',e,'o',o) redis.call('EXPIRE',KEYS[3],ARGV[7])
end
return {e, o}
""",
)

HISTORY = Script(
    "history",
    """
-- KEYS meta, stream  ARGV run8, new_epoch, meta_ttl, from, to, limit, command
-- -> epoch, top, entries
local h = redis.call('HMGET',KEYS[1],'r','e','o')
if h[1] ~= ARGV[1] then
  redis.call('DEL',KEYS[2]) redis.call('HSET',KEYS[1],'r',ARGV[1],'e',ARGV[2],'o',0)
  redis.call('EXPIRE',KEYS[1],ARGV[3])
  h[2] = ARGV[2] h[3] = '0'
end
redis.call('EXPIRE',KEYS[1],ARGV[3],'GT') -- never before its stream
local found = {}
if tonumber(ARGV[6]) > 0 then
  found = redis.call(ARGV[7],KEYS[2],ARGV[4],ARGV[5],'COUNT',ARGV[6])
end
return {h[2], h[3], found}
""",
)

PRESENCE = Script(
    "presence",
    """
-- KEYS presence  -> client, info, ...   those whose lease is over are taken out
local now = tonumber(redis.call('TIME')[1])
local all, live = redis.call('HGETALL',KEYS[1]), {}
for i = 1, #all, 2 do
  local gap = string.find(all[i+1],' ',1,true)
  if tonumber(string.sub(all[i+1],1,gap-1)) > now then
    live[#live+1] = all[i] live[#live+1] = string.sub(all[i+1],gap+1)
  else redis.call('HDEL',KEYS[1],all[i]) end
end
return live
""",
)

PRESENT = Script(
    "present",
    """
-- KEYS presence  ARGV client, info, lease   begins or renews a lease
local till = string.format('%.0f', tonumber(redis.call('TIME')[1]) + tonumber(ARGV[3]))
redis.call('HSET',KEYS[1],ARGV[1],till..' '..ARGV[2])
redis.call('EXPIRE',KEYS[1],ARGV[3])
return 1
""",
)

OPENED = Script(
    "opened",
    """
-- KEYS sessions, seen, watch  ARGV field, lease end, life, day, life of day  -> is it watched
redis.call('HSET',KEYS[1],ARGV[1],ARGV[2]) redis.call('EXPIRE',KEYS[1],ARGV[3])
redis.call('SET',KEYS[2],ARGV[4],'EX',ARGV[5])
return redis.call('EXISTS',KEYS[3])
""",
)

TAKE = Script(
    "take",
    """
-- KEYS bucket  ARGV burst, per_s, cost   -> passed, level, ms until it would pass (-1: never)
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1e6
local burst, rate, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local b = redis.call('HMGET',KEYS[1],'level','at')
local level = tonumber(b[1] or burst)
level = math.min(burst, level + math.max(0, now - tonumber(b[2] or now)) * rate)
if level < cost then
  local wait = rate > 0 and math.ceil((cost - level) / rate * 1000) or -1
  return {0, tostring(level), string.format('%.0f', wait)}
end
level = level - cost
redis.call('HSET',KEYS[1],'level',string.format('%.6f',level),'at',string.format('%.6f',now))
local life = rate > 0 and math.ceil((burst - level) / rate) + 1 or tonumber(ARGV[4])
redis.call('EXPIRE',KEYS[1],string.format('%.0f',life))
return {1, tostring(level), '0'}
""",
)

ALL = (ATTACH, APPEND, PUBLISH, HISTORY, PRESENCE, PRESENT, OPENED, TAKE)
