"""The dashboards: each module says what is on one."""
