"""The OCPP 1.6J central system: chargepoints connect to it as WebSocket clients.

`frames` reads and checks messages, `link` is one socket, `outlet` one connector with its row of the process
image, `box` one chargepoint with its queue, `actions` answers what a box asks, `onboarding` sets it up,
`profiles` and `ladder` say a limit the way a box takes it, `central` listens and is what others use.
"""

from hardware.ocpp.central import CentralSystem

__all__ = ["CentralSystem"]
