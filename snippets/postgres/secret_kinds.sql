-- In which form does the server keep each role's password? Shows no secret.
-- For superusers: by default nobody else may read pg_authid.
select
    rolname,
    case
        when rolpassword is null then 'none: it cannot log in with one'
        when rolpassword like 'SCRAM-SHA-256$%' then 'scram-sha-256'
        else 'md5'
    end as secret,
    rolvaliduntil as valid_until
from pg_authid
where rolcanlogin
order by rolname;
