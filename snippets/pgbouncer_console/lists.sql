-- How many there are of everything. used_clients counts you as well.
show lists;
