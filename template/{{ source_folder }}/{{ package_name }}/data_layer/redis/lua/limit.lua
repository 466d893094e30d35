-- Takes one place of an exact sliding window: the list holds the time at which each place was taken.
-- KEYS: places, newest first
-- ARGV: quota, window in microseconds
-- Returns whether it was taken, places left, microseconds until the next place is free.
-- The server's clock counts; the clients' may differ.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local quota, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local newest = redis.call('LINDEX', KEYS[1], 0)
if newest and tonumber(newest) > now then
  now = tonumber(newest)  -- another server's clock was ahead before a failover
end
local oldest = redis.call('LINDEX', KEYS[1], -1)
while oldest and tonumber(oldest) <= now - window do
  redis.call('RPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], -1)
end
local used, taken = redis.call('LLEN', KEYS[1]), 0
if used < quota then
  redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
  used, taken = used + 1, 1
end
if used < quota then
  return {taken, quota - used, 0}
end
-- A place is free when fewer than the quota are taken, which may be lower than it was.
return {taken, 0, tonumber(redis.call('LINDEX', KEYS[1], quota - 1)) + window - now}
