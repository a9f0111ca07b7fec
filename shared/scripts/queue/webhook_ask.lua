#!lua flags=allow-oom
-- Create the delivery of the webhook at a question, due now. ARGV: entry, 1 if one that exists stays as it is, limit of a
-- tenant's webhooks. Returns 1, or 0 when that limit allows none.
return due_webhook(ARGV[1], 'asked', now_us(), tonumber(ARGV[3]), ARGV[2] == '1' and 'NX' or 'CH') and 1 or 0
