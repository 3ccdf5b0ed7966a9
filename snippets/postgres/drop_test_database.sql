-- End all sessions in a test database, and drop it.
-- psql --set=database=test_upstream --file=drop_test_database.sql postgres
drop database if exists :"database" with (force);
