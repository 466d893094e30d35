"""What must happen in Redis at once: Lua, each script with all its keys in one slot."""

# KEYS: the value, its lease. ARGV: the token of the lease, the value, milliseconds to live.
# Whoever lost the lease read before a write that took it away, so the value may be old.
STORE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""

# KEYS: the lease. ARGV: its token.
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

# KEYS: the value, its lease. ARGV: the channel, the message.
INVALIDATE = """
redis.call('DEL', KEYS[1], KEYS[2])
return redis.call('PUBLISH', ARGV[1], ARGV[2])
"""

# KEYS: the state of a source. ARGV: its new state, milliseconds to live, the channel, the message.
CHANGE = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('PUBLISH', ARGV[3], ARGV[4])
"""
