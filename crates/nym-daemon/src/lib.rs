//! What every program needs: configuration, key files, logging, signals, exit codes.
