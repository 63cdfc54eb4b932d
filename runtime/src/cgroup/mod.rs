//! cgroups: v2 natively, v1 and hybrid as the legacy backend, the systemd driver.
