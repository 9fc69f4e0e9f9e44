//! Connections of browsers: how many there are, and how long each lives.

use std::{io, rc::Rc, sync::Arc};

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
    wire::{
        Stream,
        listen::{Accepted, Listener},
        tcp::{self, KeepAlive},
    },
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
    if let Err(error) = tune(&stream) {
        debug!("Connection of {origin}: {error}");
        return;
    }
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

/// A page that follows is sent little, which the kernel takes for long after its machine is gone: the
/// kernel gives such a connection up.
fn tune(stream: &Stream) -> io::Result<()> {
    let Stream::Tcp(stream) = stream else {
        return Ok(());
    };
    let keep_alive = KeepAlive {
        user_timeout: Some(limits::HTTP_STALL),
        ..KeepAlive::default()
    };
    tcp::tune(stream.get_ref(), &keep_alive)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use smol::LocalExecutor;
    use socket2::SockRef;

    use super::*;
    use crate::reactor::block_on;

    #[test]
    fn machines_that_are_gone_are_given_up() {
        block_on(&LocalExecutor::new(), async {
            let listener = tcp::listen_on((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let _browser = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let accepted = Listener::Tcp(listener).accept().await.unwrap();
            tune(&accepted.stream).unwrap();
            let Stream::Tcp(stream) = &accepted.stream else {
                panic!("it is TCP");
            };
            let socket = SockRef::from(stream.get_ref());
            let timeout = socket.tcp_user_timeout().unwrap();
            assert_eq!(timeout, Some(limits::HTTP_STALL));
        });
    }
}
