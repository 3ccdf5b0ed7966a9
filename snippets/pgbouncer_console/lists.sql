-- How many of everything there are. used_clients counts you as well.
show lists;
