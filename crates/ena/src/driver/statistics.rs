//! Counters that the device has.

use trinic_pci::{Bus, Memory};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{Driver, DriverError};
use crate::datapath::Allowances;
use crate::spec::admin::{Command, Opcode};
use crate::spec::statistics::{
    BasicStatistics, CustomerMetrics, EniStatistics, GetStatistics, StatisticsType,
};

/// Bytes of the control buffer for customer metrics. Source: `ENA_CUSTOMER_METRICS_BUFFER_SIZE`.
const METRICS_BYTES: u32 = 512;

impl<B: Bus> Driver<B> {
    /// What the device counted for this function.
    ///
    /// # Errors
    ///
    /// When the admin queue fails.
    pub fn statistics(&mut self) -> Result<BasicStatistics, DriverError> {
        self.read_statistics(StatisticsType::BASIC, 0, 0)
    }

    /// What the instance type's allowances did: the customer metrics where the device has them, else the ENI
    /// statistics, else zeros.
    ///
    /// # Errors
    ///
    /// When the admin queue fails.
    pub fn allowances(&mut self) -> Result<Allowances, DriverError> {
        let capabilities = self.features.offer.capabilities;
        if capabilities.customer_metrics() {
            return self.customer_metrics();
        }
        if !capabilities.eni_stats() {
            return Ok(Allowances::default());
        }
        let eni: EniStatistics = self.read_statistics(StatisticsType::ENI, 0, 0)?;
        Ok(Allowances {
            bw_in_exceeded: eni.bw_in_exceeded.get(),
            bw_out_exceeded: eni.bw_out_exceeded.get(),
            pps_exceeded: eni.pps_exceeded.get(),
            conntrack_exceeded: eni.conntrack_exceeded.get(),
            linklocal_exceeded: eni.linklocal_exceeded.get(),
            conntrack_available: 0,
        })
    }

    fn customer_metrics(&mut self) -> Result<Allowances, DriverError> {
        // Without a buffer the device answers which of the metrics asked for it has.
        let known: CustomerMetrics =
            self.read_statistics(StatisticsType::CUSTOMER_METRICS, 0, CustomerMetrics::ALL)?;
        let wanted = known.reported.get() & CustomerMetrics::ALL;
        self.read_statistics::<CustomerMetrics>(StatisticsType::CUSTOMER_METRICS, METRICS_BYTES, wanted)?;
        let mut bytes = [0; 48];
        self.bus.memory().read(self.admin.control, &mut bytes)?;
        let mut allowances = Allowances::default();
        let mut values = bytes.as_chunks::<8>().0.iter();
        for (bit, field) in [
            &mut allowances.bw_in_exceeded,
            &mut allowances.bw_out_exceeded,
            &mut allowances.pps_exceeded,
            &mut allowances.conntrack_exceeded,
            &mut allowances.linklocal_exceeded,
            &mut allowances.conntrack_available,
        ]
        .into_iter()
        .enumerate()
        {
            if wanted >> bit & 1 == 1 {
                *field = values.next().map_or(0, |value| u64::from_le_bytes(*value));
            }
        }
        Ok(allowances)
    }

    fn read_statistics<T: FromBytes + FromZeros>(
        &mut self,
        kind: StatisticsType,
        buffer_bytes: u32,
        metrics: u64,
    ) -> Result<T, DriverError> {
        let mut body = GetStatistics::new_zeroed();
        body.control_buffer = self.admin.control_buffer(buffer_bytes);
        body.statistics_type = kind.0;
        body.requested_metrics = metrics.into();
        debug_assert!(body.as_bytes().len() <= 60);
        let command = Command::new(Opcode::GET_STATS, &body);
        Ok(self.admin.execute(&*self.bus, command)?.payload())
    }
}
