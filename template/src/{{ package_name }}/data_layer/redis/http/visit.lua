-- Reads a session that is in use, and notes that it is; nothing when it has expired or been revoked.
-- KEYS: sessions of the user
-- ARGV: session, ms of idleness, ms in all
local found = redis.call('HGET', KEYS[1], ARGV[1])
if not found then
  return false
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local began, seen, data = string.match(found, '^(%d+) (%d+) (.*)$')
if now - seen >= tonumber(ARGV[2]) or now - began >= tonumber(ARGV[3]) then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return false
end
local noted = redis.pcall('HSET', KEYS[1], ARGV[1],
  began .. ' ' .. string.format('%.0f', now) .. ' ' .. data)
-- A server that is full and evicts nothing still knows who is signed in.
if type(noted) == 'table' and noted.err and not string.find(noted.err, 'OOM', 1, true) then
  return noted
end
return {tonumber(began), data}
