//! System calls that the tests make.
