/* manager PORT: a manager as the C programs are one, on libsystemd's sd-bus. It serves agents on
 * the loopback device, one after the other. Once an agent has registered it makes the calls that a
 * manager makes, and prints what comes of them. */

#include "common.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t accepted_at;
/* Number of the calls that nobody wants an answer to. */
static uint64_t quiet_cookies[8];
static size_t quiet_calls;

static uint64_t now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static int print_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const sd_bus_error *refused = sd_bus_message_get_error(m);

        (void) error;
        if (refused)
                printf("answer to %s: %s: %s\n", (const char *) userdata, refused->name,
                       text(refused->message));
        else
                printf("answer to %s: %s\n", (const char *) userdata,
                       text(sd_bus_message_get_signature(m, 1)));
        return 0;
}

static int watch_for_unwanted(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        uint64_t cookie = 0;

        (void) userdata;
        (void) error;
        if (sd_bus_message_get_reply_cookie(m, &cookie) >= 0)
                for (size_t i = 0; i < quiet_calls; i++)
                        if (quiet_cookies[i] == cookie)
                                printf("UNWANTED answer to call %u\n", (unsigned) cookie);
        return 0;
}

static sd_bus_message *new_call(sd_bus *bus, const char *interface, const char *member) {
        sd_bus_message *m = NULL;

        CHECK(sd_bus_message_new_method_call(bus, &m, AGENT_NAME, AGENT_PATH, interface, member));
        return m;
}

/* Sends a call; its answer is printed under a name. */
static void send_call(sd_bus *bus, sd_bus_message *m, char *name) {
        CHECK(sd_bus_call_async(bus, NULL, m, print_answer, name, 0));
        sd_bus_message_unref(m);
}

static void send_job(sd_bus *bus, const char *member, const char *unit, uint32_t id, char *name) {
        sd_bus_message *m = new_call(bus, AGENT_INTERFACE, member);

        CHECK(sd_bus_message_append(m, "ssu", unit, "replace", id));
        send_call(bus, m, name);
}

static void send_quiet(sd_bus *bus, const char *member, const char *argument) {
        sd_bus_message *m = new_call(bus, AGENT_INTERFACE, member);

        if (argument)
                CHECK(sd_bus_message_append(m, "s", argument));
        CHECK(sd_bus_message_set_expect_reply(m, 0));
        CHECK(sd_bus_send(bus, m, &quiet_cookies[quiet_calls++]));
        sd_bus_message_unref(m);
}

static int register_agent(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name = NULL;
        sd_bus *bus = sd_bus_message_get_bus(m);
        sd_bus_message *call;

        (void) userdata;
        (void) error;
        CHECK(sd_bus_message_read(m, "s", &name));
        printf("registered %s after %u ms\n", name, (unsigned) (now_ms() - accepted_at));

        /* As the C manager, which tells an agent its subscriptions before it answers. */
        send_quiet(bus, "Subscribe", "quick.service");
        CHECK(sd_bus_reply_method_return(m, ""));

        send_quiet(bus, "StartDep", "quick.service");
        send_quiet(bus, "EnableMetrics", NULL);
        send_call(bus, new_call(bus, AGENT_INTERFACE, "ListUnits"), "ListUnits");
        send_job(bus, "StartUnit", "quick.service", 7, "StartUnit quick");
        send_job(bus, "StartUnit", "slow.service", 8, "StartUnit slow");
        send_job(bus, "StartUnit", "nope.service", 9, "StartUnit nope");
        call = new_call(bus, AGENT_INTERFACE, "GetUnitProperty");
        CHECK(sd_bus_message_append(call, "sss", "quick.service", "org.freedesktop.systemd1.Unit",
                                    "Id"));
        send_call(bus, call, "GetUnitProperty");
        call = new_call(bus, AGENT_INTERFACE, "GetUnitProperty");
        CHECK(sd_bus_message_append(call, "s", "quick.service"));
        send_call(bus, call, "GetUnitProperty of s");
        send_call(bus, new_call(bus, AGENT_INTERFACE, "Fly"), "Fly");
        send_call(bus, new_call(bus, "org.freedesktop.DBus.Peer", "Ping"), "Ping");
        send_call(bus, new_call(bus, "org.freedesktop.DBus.Peer", "GetMachineId"), "GetMachineId");
        send_quiet(bus, "StopDep", "quick.service");
        send_quiet(bus, "Unsubscribe", "quick.service");
        send_quiet(bus, "DisableMetrics", NULL);
        return 1;
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Register", "s", "", register_agent, 0),
        SD_BUS_VTABLE_END,
};

static int listen_on(uint16_t port) {
        struct sockaddr_in address = {
                .sin_family = AF_INET,
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                .sin_port = htons(port),
        };
        int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
            bind(fd, (struct sockaddr *) &address, sizeof address) < 0 || listen(fd, SOMAXCONN) < 0)
                check(-errno, "listen");
        return fd;
}

/* Serves one agent until it goes. */
static void serve(int fd) {
        sd_bus *bus = NULL;
        sd_id128_t id;
        int result;

        quiet_calls = 0;
        accepted_at = now_ms();
        CHECK(sd_id128_randomize(&id));
        CHECK(sd_bus_new(&bus));
        CHECK(sd_bus_set_trusted(bus, 1));
        CHECK(sd_bus_set_fd(bus, fd, fd));
        CHECK(sd_bus_set_server(bus, 1, id));
        CHECK(sd_bus_negotiate_creds(bus, 1, SD_BUS_CREDS_EUID));
        CHECK(sd_bus_set_anonymous(bus, 1));
        CHECK(sd_bus_set_sender(bus, MANAGER_NAME));
        CHECK(sd_bus_add_filter(bus, NULL, watch_for_unwanted, NULL));
        CHECK(sd_bus_add_filter(bus, NULL, print_message, NULL));
        CHECK(sd_bus_add_object_vtable(bus, NULL, MANAGER_PATH, MANAGER_INTERFACE, manager_vtable,
                                       NULL));
        CHECK(sd_bus_start(bus));
        for (;;) {
                result = sd_bus_process(bus, NULL);
                if (result == 0)
                        result = sd_bus_wait(bus, UINT64_MAX);
                if (result == -ENOTCONN || result == -ECONNRESET)
                        break;
                CHECK(result);
        }
        printf("disconnected\n");
        sd_bus_close_unref(bus);
}

int main(int argc, char **argv) {
        int listener;

        if (argc != 2)
                return 2;
        setvbuf(stdout, NULL, _IOLBF, 0);
        listener = listen_on((uint16_t) atoi(argv[1]));
        printf("listening\n");
        for (;;) {
                int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd < 0)
                        check(-errno, "accept");
                printf("accepted\n");
                serve(fd);
        }
}
