"""Everything outside the process: buses, sockets, disk and the wall clock."""
