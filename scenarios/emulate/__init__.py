"""A twin site on real wires: every chargepoint an OCPP 1.6J client, every meter a Modbus TCP server.

`emulation.Emulation` puts a world on its sockets and moves it; `command.main` is `edge-twin emulate`. The
OCPP side (`profiles`, `frames`, `outlets`, `answers`, `chargepoint`, `wires`) is written from the standard
and shares nothing with the central system; the register sheets of `meters` are the ones of the real devices.
"""
