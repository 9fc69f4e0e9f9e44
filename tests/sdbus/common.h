/* What both programs have in common: they print all they see, one line each, for the test. */

#pragma once

#define _GNU_SOURCE

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define MANAGER_NAME "org.containers.hirte"
#define MANAGER_PATH "/org/containers/hirte/internal"
#define MANAGER_INTERFACE "org.containers.hirte.internal.Manager"
#define AGENT_NAME "org.containers.hirte.Agent"
#define AGENT_PATH "/org/containers/hirte/internal/agent"
#define AGENT_INTERFACE "org.containers.hirte.internal.Agent"

static int check(int result, const char *what) {
        if (result < 0) {
                printf("FAILED %s: %s\n", what, strerror(-result));
                exit(1);
        }
        return result;
}
#define CHECK(call) check((call), #call)

static const char *text(const char *maybe) {
        return maybe && *maybe ? maybe : "-";
}

/* A filter that sees each message in the order of the connection:
 * "got KIND MEMBER signature=S sender=N destination=N reply_to=N answer=yes|no" */
static int print_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const char *const kinds[] = {"-", "call", "return", "error", "signal"};
        uint8_t type = 0;
        uint64_t reply_to = 0;

        (void) userdata;
        (void) error;
        CHECK(sd_bus_message_get_type(m, &type));
        (void) sd_bus_message_get_reply_cookie(m, &reply_to);
        printf("got %s %s signature=%s sender=%s destination=%s reply_to=%u answer=%s\n",
               kinds[type <= 4 ? type : 0],
               text(sd_bus_message_get_member(m)),
               text(sd_bus_message_get_signature(m, 1)),
               text(sd_bus_message_get_sender(m)),
               text(sd_bus_message_get_destination(m)),
               (unsigned) reply_to,
               sd_bus_message_get_expect_reply(m) > 0 ? "yes" : "no");
        return 0;
}
