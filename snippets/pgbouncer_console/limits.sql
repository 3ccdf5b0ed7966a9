-- The settings in effect that refuse clients or make them wait.
-- max_client_conn              how many clients there may be
-- default_pool_size            server connections of each user and database
-- query_wait_timeout           how long a client may wait for one
-- server_login_retry           how long a failed login is remembered
-- max_prepared_statements      how many are tracked; 0 for not at all
-- ignore_startup_parameters    what clients ask for and do not get
\pset pager off
\o | grep -E '^ *(key |max_|default_pool|query_wait|server_login_r|ignore_)'
show config;
\o
