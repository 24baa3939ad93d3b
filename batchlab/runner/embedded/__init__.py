"""A run inside a program: in its own thread, the program holds its rows and takes its results one by one."""
