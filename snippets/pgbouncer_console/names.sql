-- Which address has PgBouncer cached for a name, for how many more seconds,
-- and where do its server connections lead?
\x on
show dns_hosts;
show servers;
