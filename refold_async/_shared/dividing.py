"""The scripts that divide the rate in Redis: one beat of a member, and its leaving.

Durations are in milliseconds of Redis' own clock, rates in thousandths of a request per second.
"""

DIVIDE = """
local longest_text, longest_lesson = 100, 2000
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local me, demand, ceiling, gate = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local had, gone, longest = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
-- The clock may be set: what lies in its future began now, and a pause is over.
local born = tonumber(redis.call('HGET', KEYS[1], 'born')) or math.huge
if born > now then
    born = now
    redis.call('HSET', KEYS[1], 'born', born)
end
local young = now - born < tonumber(ARGV[8])
local function fields(text, pattern)  -- others may write here: nobody looks through it all
    if text and #text < longest_text then return string.match(text, pattern) end
end
local member = '^(-?%d+):(%d+):(%d+):(%d+)$'
local _, _, last = fields(redis.call('HGET', KEYS[1], me), member)
-- Who was away itself, or whose clock was set ahead, has not seen whether the others were.
local was_away = last and now - last > gone
local told = redis.call('HGETALL', KEYS[1])
local wants, held, total = {}, 0, ceiling > 0 and ceiling or math.huge
local shut, gate_told = 0, ''
for i = 1, #told, 2 do
    local id, text = told[i], told[i + 1]
    if id == 'gate' then
        local begun, length = fields(text, '^(%d+):(%d+)$')
        local ago = begun and now - begun or -1
        local left = ago < 0 and 0 or math.min(length, longest) - ago
        if left > 0 then
            shut, gate_told = left, text
        else
            redis.call('HDEL', KEYS[1], id)
        end
    elseif id ~= me and id ~= 'born' then
        local d, share, seen, c = fields(text, member)
        if seen and (now - seen < 0 or was_away) then
            seen = now
            redis.call('HSET', KEYS[1], id, d .. ':' .. share .. ':' .. seen .. ':' .. c)
        end
        if not seen or now - seen > gone then
            redis.call('HDEL', KEYS[1], id)
        else
            table.insert(wants, tonumber(d))
            held = held + share
            if tonumber(c) > 0 then total = math.min(total, c) end
        end
    end
end
if gate > shut then
    shut, gate_told = gate, now .. ':' .. gate
    redis.call('HSET', KEYS[1], 'gate', gate_told)
end
local count, share = #wants + 1, 0
if total < math.huge then
    table.insert(wants, demand)
    for i, want in ipairs(wants) do wants[i] = want < 0 and total or math.min(want, total) end
    local mine = demand < 0 and total or math.min(demand, total)
    local least = total / count / 10
    mine = math.max(mine, least)
    for i, want in ipairs(wants) do wants[i] = math.max(want, least) end
    table.sort(wants)
    local left, level = total, 0
    for i, want in ipairs(wants) do
        level = math.min(want, left / (count - i + 1))
        left = left - level
    end
    share = math.min(mine, level) + left / count
    if had > 0 and (young or not last) then share = math.min(share, had) end
    share = math.max(math.floor(math.max(math.min(share, total - held), total / 100)), 1)
end
redis.call('HSET', KEYS[1], me, demand .. ':' .. share .. ':' .. now .. ':' .. ceiling)
redis.call('PEXPIRE', KEYS[1], longest + gone)

local epoch, proposed, lesson, counted = unpack(ARGV, 9)
local known = redis.call('HGET', KEYS[2], 'epoch') or ''
if lesson ~= '' and (known == epoch or known == '') then
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[2], 'epoch', proposed, 'lesson', lesson, 'at', now)
    epoch, known = proposed, proposed
end
if known == '' then return {share, count, shut, gate_told, '', '', 0, 0, 0} end
if known == epoch then redis.call('HSET', KEYS[2], 'of:' .. me, counted) end
redis.call('PEXPIRE', KEYS[2], 2 * longest)
local served, refused, at = 0, 0, now
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
    local id, value = all[i], all[i + 1]
    if id == 'at' then at = tonumber(value) or now
    elseif id == 'lesson' then lesson = #value < longest_lesson and value or 'none'
    elseif id ~= 'epoch' and id ~= 'of:' .. me then
        local s, r
        if #value < longest_text then s, r = string.match(value, '^(%d+):(%d+)$') end
        served, refused = served + (s or 0), refused + (r or 0)
    end
end
if at > now then
    at = now
    redis.call('HSET', KEYS[2], 'at', at)
end
return {share, count, shut, gate_told, known, known ~= epoch and lesson or '', now - at, served,
    refused}
"""

LEAVE = "return redis.call('HDEL', KEYS[1], ARGV[1])"
