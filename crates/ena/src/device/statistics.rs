//! Counters that the driver asks for.

use trinic_pci::{Interrupts, Memory};
use zerocopy::IntoBytes;
use zerocopy::byteorder::{LE, U64};

use super::command::{Answer, answer, strict};
use super::{Device, Refusal};
use crate::datapath::{Allowances, Link};
use crate::spec::statistics::{
    BasicStatistics, CustomerMetrics, EniStatistics, GetStatistics, SrdInfo, StatisticsType,
};

impl<M: Memory, I: Interrupts, L: Link> Device<M, I, L> {
    /// Scope and queue are not looked at: Linux leaves them 0, which reads as "queue 0", and means everything.
    pub(super) fn get_statistics(&mut self, get: &GetStatistics) -> Answer {
        if self.config.strict {
            strict(get.reserved.get() == 0 && get.control_buffer.address.reserved.get() == 0)?;
        }
        if !matches!(get.device.get(), 0 | 0xffff) {
            return Err(Refusal::StatisticsDevice);
        }
        let counted = self.count()?;
        let allowances = &counted.allowances;
        match StatisticsType(get.statistics_type) {
            StatisticsType::BASIC => answer(&BasicStatistics {
                tx_bytes: U64::new(counted.tx_bytes),
                tx_packets: U64::new(counted.tx_packets),
                rx_bytes: U64::new(counted.rx_bytes),
                rx_packets: U64::new(counted.rx_packets),
                rx_drops: U64::new(counted.rx_drops),
                tx_drops: U64::new(counted.tx_drops),
                rx_overruns: U64::new(counted.rx_overruns),
            }),
            StatisticsType::ENI => answer(&EniStatistics {
                bw_in_exceeded: U64::new(allowances.bw_in_exceeded),
                bw_out_exceeded: U64::new(allowances.bw_out_exceeded),
                pps_exceeded: U64::new(allowances.pps_exceeded),
                conntrack_exceeded: U64::new(allowances.conntrack_exceeded),
                linklocal_exceeded: U64::new(allowances.linklocal_exceeded),
            }),
            // ENA Express is off: no flag is set and nothing was sent by it.
            StatisticsType::SRD => answer(&SrdInfo::default()),
            StatisticsType::CUSTOMER_METRICS => self.customer_metrics(get, allowances),
            _ => Err(Refusal::StatisticsType),
        }
    }

    /// Without a control buffer the driver only asks which metrics there are.
    fn customer_metrics(&self, get: &GetStatistics, allowances: &Allowances) -> Answer {
        let reported = get.requested_metrics.get() & CustomerMetrics::ALL;
        if get.control_buffer.length.get() != 0 {
            let values = (0..).zip(by_metric(allowances));
            let wanted: Vec<U64<LE>> = values
                .filter(|(bit, _)| reported >> bit & 1 == 1)
                .map(|(_, value)| U64::new(value))
                .collect();
            self.write_buffer(get.control_buffer, wanted.as_bytes())?;
        }
        answer(&CustomerMetrics {
            reported: U64::new(reported),
        })
    }
}

/// The metrics in the order of their bits. Source: `ena_admin_customer_metrics_id`.
fn by_metric(allowances: &Allowances) -> [u64; 6] {
    [
        allowances.bw_in_exceeded,
        allowances.bw_out_exceeded,
        allowances.pps_exceeded,
        allowances.conntrack_exceeded,
        allowances.linklocal_exceeded,
        allowances.conntrack_available,
    ]
}
