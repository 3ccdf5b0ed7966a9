-- A schema for a tenant's role: its own, with the same name.
-- The default search_path begins with "$user", which is that schema.
create schema authorization :"role";
