//! The interface of the object that emits metrics.

use crate::bus::{
    interface::{Argument, Interface, Signal},
    names,
};

/// `org.containers.hirte.Metrics`
pub const METRICS: Interface = Interface {
    name: names::METRICS_INTERFACE,
    doc: "How long jobs take, at /org/containers/hirte/metrics, which exists while metrics are \
          enabled.",
    methods: &[],
    signals: &[
        Signal {
            name: "StartUnitJobMetrics",
            arguments: &[
                Argument("node_name", "s"),
                Argument("job_id", "s"),
                Argument("unit", "s"),
                Argument("job_measured_time_micros", "t"),
                Argument("unit_start_prop_time_micros", "t"),
            ],
            doc: "A job of StartUnit or StartTransientUnit has ended, after its JobRemoved: node, \
                  object path of the job, unit, microseconds from the client's call to the \
                  node's report of the end, and microseconds that the unit took from leaving the \
                  inactive state to being active (ActiveEnterTimestampMonotonic less \
                  InactiveExitTimestampMonotonic), which are 0 when it did not become active or \
                  the node could not tell. Not sent for a job that ended as node-lost. Since 0.6.",
        },
        Signal {
            name: "AgentJobMetrics",
            arguments: &[
                Argument("node_name", "s"),
                Argument("unit", "s"),
                Argument("method", "s"),
                Argument("systemd_job_time_micros", "t"),
            ],
            doc: "A job has ended, before its JobRemoved: node, unit, the method that asked for \
                  it, and microseconds from the agent's call to its systemd to systemd's \
                  JobRemoved, as the agent measured them. Not sent for a job whose end the agent \
                  did not see, because systemd executed itself again. Since 0.6.",
        },
    ],
    properties: &[],
};
