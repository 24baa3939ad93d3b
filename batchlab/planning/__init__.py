"""Before anything is paid: what a job would do and cost."""
