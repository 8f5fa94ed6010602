//! The native part of the Python package `natsbridge`: everything that `python/natsbridge` calls.

mod arrow_c;
mod bridge;
mod columns;
mod decode;
mod encode;
mod engine;
mod failure;
mod handlers;
mod inputs;
mod message;
mod observe;
mod options;
mod outcome;
mod settings;
mod smart;
mod stores;
mod table;

use pyo3::prelude::*;

/// The native part of `natsbridge`; use the package, not this module
#[pymodule]
fn _natsbridge(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<engine::Job>()?;
    module.add_class::<handlers::Answer>()?;
    module.add_class::<table::Table>()?;
    module.add_class::<stores::Store>()?;
    module.add_class::<bridge::Bridge>()?;
    module.add_class::<bridge::Broker>()?;
    module.add_class::<bridge::Subscription>()?;
    module.add_class::<bridge::Service>()?;
    module.add_class::<bridge::Events>()?;
    module.add_class::<message::Message>()?;
    module.add_class::<message::Payload>()?;
    module.add_class::<message::Reader>()?;
    for function in [
        wrap_pyfunction!(smart::smartsend, module)?,
        wrap_pyfunction!(smart::smartreceive, module)?,
        wrap_pyfunction!(bridge::connect, module)?,
        wrap_pyfunction!(stores::store, module)?,
        wrap_pyfunction!(observe::start, module)?,
        wrap_pyfunction!(observe::flush, module)?,
        wrap_pyfunction!(observe::metrics_text, module)?,
        wrap_pyfunction!(engine::close, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}
