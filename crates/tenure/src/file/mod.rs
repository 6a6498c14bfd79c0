//! A directory that many processes of one host share with no daemon.
