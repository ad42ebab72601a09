"""The pure core of Edge: one cycle is `measure -> calculate -> distribute`.

`measure` freezes the process image (what every meter and connector says and how old that is), `calculate`
is a pure function `(topology, image, memory) -> (decision, memory)`, `distribute` puts orders down on links.
The same `calculate` runs in the twin, in the regression farm and on the box.

Words. *Grid*: a board with a fuse, a node of the tree; the connection is the grid without feeder.
*Connector*: one outlet of a *chargepoint*. *Session*: plug-in to plug-out. *Transaction*: OCPP's, inside a
session. *Target*: the last limit put down. *Commitment*: the most a connector may draw, given everything
sent, answered or possibly lost. *Headroom*: what is left under a limit when every commitment is drawn.
*Fallback*: what a box does when nobody commands it. *Book*: estimate of the uncontrolled load plus the sum
of commitments.
"""
