-- Which address does PgBouncer know for a name, and for how many seconds will it
-- not ask again? Then: where do its server connections lead?
\x on
show dns_hosts;
show servers;
