//! Which nodes of a directed graph lead to each other and back.

/// The strongly connected components, each after all those that it leads to (Tarjan's algorithm, on a stack of its
/// own). `edges`: for each node, the nodes that it leads to; others are passed over.
pub(super) fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    /// When a node was met; none before it has been, and again once its component is known.
    #[derive(Clone, Copy, PartialEq)]
    enum Met {
        Never,
        At(usize),
        Done,
    }
    let mut met = vec![Met::Never; edges.len()];
    let mut components = Vec::new();
    let mut open = Vec::new();
    for root in 0..edges.len() {
        // A node, how many of its edges have been followed, and the earliest open node that it leads to.
        let mut path: Vec<(usize, usize, usize)> = Vec::new();
        let mut next = Some(root).filter(|root| met.get(*root) == Some(&Met::Never));
        let mut clock = open.len();
        loop {
            if let Some(node) = next.take() {
                if let Some(met) = met.get_mut(node) {
                    *met = Met::At(clock);
                }
                open.push(node);
                path.push((node, 0, clock));
                clock += 1;
            }
            let Some((node, followed, earliest)) = path.last_mut() else {
                break;
            };
            let node = *node;
            if let Some(target) = edges.get(node).and_then(|edges| edges.get(*followed)).copied() {
                *followed += 1;
                match met.get(target) {
                    Some(Met::Never) => next = Some(target),
                    Some(Met::At(when)) => *earliest = (*earliest).min(*when),
                    Some(Met::Done) | None => {}
                }
                continue;
            }
            let earliest = *earliest;
            path.pop();
            if met.get(node) == Some(&Met::At(earliest)) {
                let start = open.iter().rposition(|open| *open == node).unwrap_or(0);
                let component = open.split_off(start);
                for node in &component {
                    if let Some(met) = met.get_mut(*node) {
                        *met = Met::Done;
                    }
                }
                components.push(component);
            }
            if let Some((_, _, around)) = path.last_mut() {
                *around = (*around).min(earliest);
            }
        }
    }
    components
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_lead_back_are_one_component_and_come_after_what_they_lead_to() {
        let edges = vec![vec![1], vec![2, 4], vec![3], vec![1], vec![5, 9], vec![], vec![6, 0]];
        let mut components = components(&edges);
        components.iter_mut().for_each(|component| component.sort_unstable());
        assert_eq!(components, [vec![5], vec![4], vec![1, 2, 3], vec![0], vec![6]]);
    }

    #[test]
    fn a_path_of_any_length_is_followed() {
        let edges: Vec<Vec<usize>> = (0..100_000).map(|node| vec![node + 1]).collect();
        assert_eq!(components(&edges).len(), 100_000);
        let ring: Vec<Vec<usize>> = (0..100_000).map(|node| vec![(node + 1) % 100_000]).collect();
        assert_eq!(components(&ring).len(), 1);
    }
}
