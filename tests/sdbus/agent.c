/* agent ADDRESS NODE: an agent as the C programs are one, on libsystemd's sd-bus. It has two units
 * and no systemd: the job of each unit ends at once, that of slow.service never. It sends no
 * heartbeat, so that only sd-bus's own answers to Peer.Ping show that it lives. */

#include "common.h"

static int reply_to_list(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const char *const units[][3] = {
                {"quick.service", "active", "/org/freedesktop/systemd1/unit/quick_2eservice"},
                {"slow.service", "inactive", "/org/freedesktop/systemd1/unit/slow_2eservice"},
        };
        sd_bus_message *reply = NULL;

        (void) userdata;
        (void) error;
        CHECK(sd_bus_message_new_method_return(m, &reply));
        CHECK(sd_bus_message_open_container(reply, 'a', "(ssssssouso)"));
        for (size_t i = 0; i < 2; i++)
                CHECK(sd_bus_message_append(reply, "(ssssssouso)", units[i][0], "A unit of sd-bus",
                                            "loaded", units[i][1], "running", "", units[i][2],
                                            (uint32_t) 0, "", "/"));
        CHECK(sd_bus_message_close_container(reply));
        CHECK(sd_bus_send(NULL, reply, NULL));
        sd_bus_message_unref(reply);
        return 1;
}

static int run_job(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *unit = NULL, *mode = NULL;
        uint32_t id = 0;
        sd_bus *bus = sd_bus_message_get_bus(m);

        (void) userdata;
        CHECK(sd_bus_message_read(m, "ssu", &unit, &mode, &id));
        printf("%s %s %s %u\n", sd_bus_message_get_member(m), unit, mode, id);
        if (strcmp(unit, "nope.service") == 0)
                return sd_bus_error_setf(error, "org.freedesktop.systemd1.NoSuchUnit",
                                         "Unit %s not found.", unit);
        CHECK(sd_bus_reply_method_return(m, ""));
        CHECK(sd_bus_emit_signal(bus, AGENT_PATH, AGENT_INTERFACE, "JobStateChanged", "us", id,
                                 "running"));
        if (strcmp(unit, "slow.service") != 0)
                CHECK(sd_bus_emit_signal(bus, AGENT_PATH, AGENT_INTERFACE, "JobDone", "us", id,
                                         "done"));
        return 1;
}

static int get_property(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *unit = NULL, *interface = NULL, *property = NULL;

        (void) userdata;
        (void) error;
        CHECK(sd_bus_message_read(m, "sss", &unit, &interface, &property));
        return sd_bus_reply_method_return(m, "v", "s", property);
}

static const sd_bus_vtable agent_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("ListUnits", "", "a(ssssssouso)", reply_to_list, 0),
        SD_BUS_METHOD("StartUnit", "ssu", "", run_job, 0),
        SD_BUS_METHOD("StopUnit", "ssu", "", run_job, 0),
        SD_BUS_METHOD("RestartUnit", "ssu", "", run_job, 0),
        SD_BUS_METHOD("ReloadUnit", "ssu", "", run_job, 0),
        SD_BUS_METHOD("GetUnitProperty", "sss", "v", get_property, 0),
        SD_BUS_SIGNAL("JobDone", "us", 0),
        SD_BUS_SIGNAL("JobStateChanged", "us", 0),
        SD_BUS_SIGNAL("Heartbeat", "", 0),
        SD_BUS_VTABLE_END,
};

/* Prints "called MEMBER: ok" or "called MEMBER: NAME: TEXT". */
static int call_manager(sd_bus *bus, const char *path, const char *interface, const char *member,
                        const char *argument) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        int result = sd_bus_call_method(bus, MANAGER_NAME, path, interface, member, &error, &reply,
                                        argument ? "s" : "", argument);

        if (result < 0)
                printf("called %s: %s: %s\n", member, text(error.name), text(error.message));
        else
                printf("called %s: ok, sender=%s signature=%s\n", member,
                       text(sd_bus_message_get_sender(reply)),
                       text(sd_bus_message_get_signature(reply, 1)));
        sd_bus_error_free(&error);
        sd_bus_message_unref(reply);
        return result;
}

int main(int argc, char **argv) {
        sd_bus *bus = NULL;
        int result;

        if (argc != 3)
                return 2;
        setvbuf(stdout, NULL, _IOLBF, 0);
        CHECK(sd_bus_new(&bus));
        CHECK(sd_bus_set_trusted(bus, 1));
        CHECK(sd_bus_set_address(bus, argv[1]));
        CHECK(sd_bus_start(bus));
        CHECK(sd_bus_add_filter(bus, NULL, print_message, NULL));
        CHECK(sd_bus_add_object_vtable(bus, NULL, AGENT_PATH, AGENT_INTERFACE, agent_vtable, NULL));
        if (call_manager(bus, MANAGER_PATH, MANAGER_INTERFACE, "Register", argv[2]) < 0)
                return 1;
        call_manager(bus, MANAGER_PATH, "org.freedesktop.DBus.Peer", "Ping", NULL);
        call_manager(bus, MANAGER_PATH, "org.freedesktop.DBus.Peer", "GetMachineId", NULL);
        call_manager(bus, MANAGER_PATH, "org.freedesktop.DBus.Introspectable", "Introspect", NULL);
        call_manager(bus, MANAGER_PATH, MANAGER_INTERFACE, "Register", argv[2]);
        printf("ready\n");
        for (;;) {
                result = sd_bus_process(bus, NULL);
                if (result == 0)
                        result = sd_bus_wait(bus, UINT64_MAX);
                if (result == -ENOTCONN || result == -ECONNRESET) {
                        printf("disconnected\n");
                        return 0;
                }
                CHECK(result);
        }
}
