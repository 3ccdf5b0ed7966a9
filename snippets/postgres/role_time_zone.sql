-- Start a role's new sessions in the time zone that Django would set.
-- psql --set=role=upstream --file=role_time_zone.sql
alter role :"role" set timezone = 'UTC';
