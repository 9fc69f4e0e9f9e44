//! Connections of browsers: how many there are, and how long each lives.

use std::{rc::Rc, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use log::{debug, warn};
use smol::{
    future::or,
    lock::{Semaphore, SemaphoreGuardArc},
};

use super::{
    io::{Activity, Io},
    routes::{self, Site},
};
use crate::{
    ctl::client::Executor,
    limits,
    wire::listen::{Accepted, Listener},
};

/// Accepts connections for ever. Those of all listeners have the same `places`.
pub(super) async fn serve(
    executor: Executor,
    listener: Listener,
    site: Rc<Site>,
    places: Arc<Semaphore>,
) {
    loop {
        let place = places.acquire_arc().await;
        match listener.accept().await {
            Ok(accepted) => {
                let connection = connection(accepted, Rc::clone(&site), place);
                executor.spawn(connection).detach();
            }
            Err(error) => warn!("Can't accept a connection on {listener}: {error}"),
        }
    }
}

/// As many connections as there may be.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(limits::MAX_HTTP_CONNECTIONS))
}

async fn connection(accepted: Accepted, site: Rc<Site>, _place: SemaphoreGuardArc) {
    let Accepted { stream, origin } = accepted;
    let activity = Activity::new();
    let io = Io::new(stream, Rc::clone(&activity));
    let service = {
        let activity = Rc::clone(&activity);
        service_fn(move |request| {
            routes::answer(Rc::clone(&site), Rc::clone(&activity), origin, request)
        })
    };
    let connection = http1::Builder::new()
        .half_close(false)
        .keep_alive(true)
        // `Activity` measures it, on the clock of our reactor.
        .header_read_timeout(None)
        .max_headers(limits::HTTP_HEAD_FIELDS)
        .max_buf_size(limits::HTTP_HEAD_BYTES)
        .serve_connection(io, service);
    let served = async {
        if let Err(error) = connection.await {
            debug!("Connection of {origin}: {error}");
        }
    };
    or(served, activity.expire()).await;
}
