-- Is it a standby, and what made the session read-only?
select
    pg_is_in_recovery() as standby,
    setting as read_only,
    source as set_by
from pg_settings
where name = 'default_transaction_read_only';
