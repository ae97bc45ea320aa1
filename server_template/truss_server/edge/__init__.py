"""The process that speaks HTTP: owns the clients, admits and routes calls, supervises the worker."""
