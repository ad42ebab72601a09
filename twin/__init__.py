"""The digital twin: a site with its cars, boxes, meters and fuses, and the links it is seen through.

`world` owns the truth and its time, `boxes` say how a chargepoint behaves, `instruments` show it all to the
controller as real links would. Nothing here knows what the controller decides.
"""
