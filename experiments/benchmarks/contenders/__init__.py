"""One file for each library: functions `build(size) -> Program`, each in a process of its own."""
