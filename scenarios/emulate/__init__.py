"""A twin site on real wires: every chargepoint an OCPP 1.6J client, every meter a Modbus TCP server."""
