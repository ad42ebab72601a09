"""Out of service and back, over real sockets; what a set-up that is refused and a state of charge show."""

from controller.decision import empty_decision
from controller.defaults import UNKNOWN
from controller.topology import compile_site
from hardware.clock import run
from tests.hardware.ocpp_peer import dial, peer, site_of, world


def last_resort(site, *, unavailable, stop=0):
    decision = empty_decision(compile_site(site))
    decision.connectors["unavailable"] = unavailable
    decision.connectors["stop_transaction"] = stop
    return decision


async def test_the_transaction_is_stopped_and_the_connector_taken_out_once_until_it_is_released(tmp_path):
    site = site_of("CP-1")
    async with world(tmp_path, site) as here, peer(here) as box:
        number = (await box.start(connector=1))["transactionId"]
        await here.until(lambda: here.rows[0]["transaction"] == number)
        for _ in range(3):
            here.central.distribute(last_resort(site, unavailable=1, stop=1))
        await here.until(lambda: box.asked("ChangeAvailability"))
        assert box.asked("RemoteStopTransaction") == [{"transactionId": number}]
        await box.stop(number)
        await here.until(lambda: here.rows[0]["transaction"] == 0)
        for _ in range(3):
            here.central.distribute(last_resort(site, unavailable=1))
        assert box.asked("ChangeAvailability") == [{"connectorId": 1, "type": "Inoperative"}]


def test_a_release_is_said_too_and_what_is_not_heard_is_said_again(tmp_path):
    async def main():
        site = site_of("CP-1")
        async with world(tmp_path, site) as here, peer(here) as box:
            box.replies["ChangeAvailability"] = {"status": "Rejected"}
            here.central.distribute(last_resort(site, unavailable=1))
            await here.until(lambda: len(box.asked("ChangeAvailability")) == 1)
            box.replies["ChangeAvailability"] = {"status": "Accepted"}

            def said(count, unavailable):
                here.central.distribute(last_resort(site, unavailable=unavailable))
                return len(box.asked("ChangeAvailability")) == count

            await here.until(lambda: said(2, 1), 30)
            await here.until(lambda: said(3, 0), 30)
            assert box.asked("ChangeAvailability")[-1] == {"connectorId": 1, "type": "Operative"}

    run(main(), speed=10)


def test_a_release_is_said_where_nobody_knows_whether_it_has_heard_that_it_is_out(tmp_path):
    async def main():
        site = site_of("CP-1")
        async with world(tmp_path, site) as here, peer(here) as box:
            box.replies["ChangeAvailability"] = lambda _: None  # no answer
            here.central.distribute(last_resort(site, unavailable=1))
            await here.until(lambda: len(box.asked("ChangeAvailability")) == 1)
            here.central.distribute(last_resort(site, unavailable=0))
            del box.replies["ChangeAvailability"]

            def released():
                here.central.distribute(last_resort(site, unavailable=0))
                return box.asked("ChangeAvailability")[-1]["type"] == "Operative"

            await here.until(released, 120)

    run(main(), speed=20)


async def test_a_box_that_refuses_every_default_is_unsupported(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        box = await dial(here.port, "CP-1")
        box.replies["SetChargingProfile"] = {"status": "Rejected"}
        await box.boot()
        await here.until(lambda: here.rows[0]["unsupported"] == 1)
        assert "default_refused" in here.kinds()
        await box.close()


async def test_a_state_of_charge_is_shown_until_the_transaction_ends(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        number = (await box.start(connector=1))["transactionId"]
        soc = {"value": "81", "measurand": "SoC", "unit": "Percent", "location": "EV"}
        await box.meter(soc, connector=1)
        await here.until(lambda: here.rows[0]["soc_percent"] == 81)
        await box.stop(number)
        await here.until(lambda: here.rows[0]["soc_percent"] == UNKNOWN)
