-- Which address does PgBouncer know for a name, for how many seconds will it
-- not ask again, and where do its server connections lead?
\x on
show dns_hosts;
show servers;
