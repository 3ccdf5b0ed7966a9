-- Is a database paused? 1 in the column paused means yes.
\x on
show databases;
