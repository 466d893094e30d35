-- Adds a session to those of its user, and takes away those that have expired.
-- KEYS: sessions of the user
-- ARGV: session, data, ms of idleness, ms in all
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HGETALL', KEYS[1])
for index = 1, #found, 2 do
  local began, seen = string.match(found[index + 1], '^(%d+) (%d+) ')
  if now - seen >= tonumber(ARGV[3]) or now - began >= tonumber(ARGV[4]) then
    redis.call('HDEL', KEYS[1], found[index])
  end
end
local stamp = string.format('%.0f', now)
redis.call('HSET', KEYS[1], ARGV[1], stamp .. ' ' .. stamp .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return now
